// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// ID is a flag with the id of a user or a group; 0: it is not set.
type ID uint32

// String implements pflag.Value.
func (i *ID) String() string {
	if *i == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*i), 10)
}

// Set implements pflag.Value.
func (i *ID) Set(text string) error {
	n, err := parseID(text)
	*i = n
	return err
}

// Type implements pflag.Value.
func (i *ID) Type() string { return "id" }

// IDs is a flag with ids, which may be given several times.
type IDs []ID

// String implements pflag.Value.
func (l *IDs) String() string {
	texts := make([]string, len(*l))
	for i, id := range *l {
		texts[i] = id.String()
	}
	return strings.Join(texts, ",")
}

// Set implements pflag.Value.
func (l *IDs) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		id, err := parseID(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		if slices.Contains(*l, id) {
			return fmt.Errorf("%d is given twice", id)
		}
		*l = append(*l, id)
	}
	return nil
}

// Type implements pflag.Value.
func (l *IDs) Type() string { return "ids" }

var errNoID = fmt.Errorf("an id is a number from 1 to %d", math.MaxInt32)

func parseID(text string) (ID, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n < 1 || n > math.MaxInt32 {
		return 0, errNoID
	}
	return ID(n), nil
}
