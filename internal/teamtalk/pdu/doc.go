// SPDX-License-Identifier: Apache-2.0

// Package pdu implements the framing of TeamTalk's internal protocol: a 16-byte big-endian header (length u32,
// version u16, flag u16, service id u16, command id u16, seq u16, reserved u16) and a protobuf body. The
// length includes the header.
//
// New returns a PDU, PDU.Append encodes it, and a Reader decodes frames: Reader.Read holds the next one, Reader.Next
// leaves it to the caller how much of its body to read.
package pdu
