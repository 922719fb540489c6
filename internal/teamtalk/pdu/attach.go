// SPDX-License-Identifier: Apache-2.0

package pdu

import "encoding/binary"

// attachType is the type of attach_data with a handle only, which message servers use for their own requests.
const attachType = 3

// AttachData returns 12 bytes that servers copy to the answer: type 3, the handle and service type 0, each as u32
// big-endian.
func AttachData(handle uint32) []byte {
	b := make([]byte, 0, 12)
	b = binary.BigEndian.AppendUint32(b, attachType)
	b = binary.BigEndian.AppendUint32(b, handle)
	return binary.BigEndian.AppendUint32(b, 0)
}

// Handle returns the handle in attach_data, or false if b is not from AttachData.
func Handle(b []byte) (uint32, bool) {
	if len(b) != 12 || binary.BigEndian.Uint32(b) != attachType {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), true
}
