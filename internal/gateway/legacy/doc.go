// SPDX-License-Identifier: Apache-2.0

// Package legacy serves http_msg_server's interface: the same JSON and the same codes, and always an answer. An
// error_detail next to the code tells in one line what is wrong and what to do.
//
// Handlers.Mount adds the operations to a server. A request passes through decode, which admits its
// caller, an operation, and write.
package legacy
