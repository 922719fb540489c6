// SPDX-License-Identifier: Apache-2.0

// Package dbproxy is the client of TeamTalk's db_proxy_server, which stores messages and answers requests
// about users, groups and histories.
//
// New returns a Client. Its errors tell whether a request may have been executed; see ErrNotSent. Client's
// OpenPath reads over one connection. NewLimits limits the requests in flight at each db_proxy, of all clients.
package dbproxy
