// SPDX-License-Identifier: Apache-2.0

// Package direct sends through db_proxy and router, with the operator's own delivery engine. It keeps no record: its
// guarantees hold within its process, and across restarts for requests with a key. There is no protection against a
// second process, so only one may run.
//
// Sender implements api.Sender and api.Groups. Servers, a reconciler, keeps the sessions that it uses.
package direct
