// Package gateway connects the parts of the HTTP gateway, for both processes that serve it: the gateway's own and
// the operator's.
//
// Options are its flags, Wire adds it to a manager, and InProcess runs it in the operator's process.
package gateway
