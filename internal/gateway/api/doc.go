// SPDX-License-Identifier: Apache-2.0

// Package api holds the types that the gateway's HTTP interfaces share with the packages that send: requests and
// results.
//
// Sender sends messages and Groups changes groups. Refusal is an error that the caller can act on.
package api
