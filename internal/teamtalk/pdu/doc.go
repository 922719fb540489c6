// SPDX-License-Identifier: Apache-2.0

// Package pdu implements the framing of TeamTalk's internal protocol: a header of 16 bytes and a protobuf body. The
// header has, in big-endian order: length u32, version u16, flag u16, service id u16, command id u16, seq u16 and
// reserved u16. The length includes the header.
//
// New returns a PDU, PDU.Append encodes it, and a Reader decodes frames. Reader.Read holds the next frame. With
// Reader.Next, the caller decides how much of its body to read.
package pdu
