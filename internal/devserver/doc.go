// SPDX-License-Identifier: Apache-2.0

// Package devserver provides a TeamTalk for development and tests: the behavior of db_proxy_server and route_server,
// with their silences and false successes, on an embedded database. It has fault injection and an inbox. It sends no
// messages elsewhere, and has no authentication.
//
// Start starts a Server, whose Faults adds a Fault. Some frames abort a stock server (a length below 16) or fill its
// memory (a length over 64 MiB, or a peer that does not read). Here they only end their connection. Random failures of
// a stock server, such as a crash on the first message of a conversation, are Faults here.
package devserver
