// SPDX-License-Identifier: Apache-2.0

// Package direct sends through db_proxy and router, with the operator's own delivery engine. It keeps no
// record: what it promises holds within its process, and across its restarts for requests with a key. Nothing guards
// against a second process, so only one may run.
//
// Sender implements api.Sender and api.Groups. Servers, a reconciler, keeps the sessions that it uses.
package direct
