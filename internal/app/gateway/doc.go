// SPDX-License-Identifier: Apache-2.0

// Package gateway connects the parts of the HTTP gateway, for both processes that serve it: the gateway's own and
// the operator's.
//
// Options are its flags, and Wire adds it to a manager. Run runs the gateway's own process with ProcessOptions, and
// InProcess runs the gateway in the operator's process.
package gateway
