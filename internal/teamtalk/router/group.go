// SPDX-License-Identifier: Apache-2.0

package router

import (
	"io"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
)

const (
	// groupPrefix is enough for the fields before the lists of members, in bytes.
	groupPrefix = 32
	// groupField is the field number of the group's id.
	groupField = 3
)

// readGroup returns the group that a change of members is about. It reads the beginning of the frame only: the lists of
// members may be long.
func readGroup(f *pdu.Frame) (group uint32, ok bool) {
	b := make([]byte, min(groupPrefix, f.Left()))
	if _, err := io.ReadFull(f, b); err != nil {
		return 0, false
	}
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 || kind != protowire.VarintType {
			return 0, false
		}
		value, length := protowire.ConsumeVarint(b[tag:])
		if length < 0 {
			return 0, false
		}
		if number == groupField {
			return uint32(value), true
		}
		b = b[tag+length:]
	}
	return 0, false
}
