// SPDX-License-Identifier: Apache-2.0

// Package wire holds TeamTalk's internal protobuf messages (proto2) and their command ids. The .proto files in proto/
// have TeamTalk's field numbers and types, and document what its servers do with them.
//
// The commands are constants of type Command. Go's protobuf keeps unknown enum values as numbers, even in required
// fields; TeamTalk's servers reject such messages.
package wire
