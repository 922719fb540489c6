package pdu

import "encoding/binary"

// attachType is the attach_data type that carries a bare handle, as message
// servers send it for requests of their own.
const attachType = 3

// AttachData returns the 12 opaque bytes that servers hand back unchanged:
// type 3, the handle, service type 0, each u32 big-endian.
func AttachData(handle uint32) []byte {
	b := make([]byte, 0, 12)
	b = binary.BigEndian.AppendUint32(b, attachType)
	b = binary.BigEndian.AppendUint32(b, handle)
	return binary.BigEndian.AppendUint32(b, 0)
}

// Handle returns the handle that AttachData put into b, and false where b is
// not such data.
func Handle(b []byte) (uint32, bool) {
	if len(b) != 12 || binary.BigEndian.Uint32(b) != attachType {
		return 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), true
}
