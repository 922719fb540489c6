// SPDX-License-Identifier: Apache-2.0

// Package connection holds a session for each TeamTalkServer: the connections to its db_proxy servers
// and routers, its keys and its limits.
//
// # Setup
//
// NewManager returns a Manager, which is a Runnable of the manager. The limits bound the requests of all sessions.
// The TeamTalkServer controller calls Ensure with ConfigOf and KeysOf for each server, and Remove when a server is
// deleted. Events are the callbacks for changes.
//
// # Use
//
// Manager.Get returns the Session of a server. Session.Send stores a message, and Session.Route announces it.
// Session.Path reads over one connection to one db_proxy: only answers of the same process are evidence for each other.
// WaitReady waits for a connection and a key, and WaitRouter for a router.
//
// # Implementation
//
// A session dials in the background once it has a key, and redials with backoff; requests do not wait for a connection.
// They use the connected db_proxies in turn, and the router with the oldest connection. A session with a changed Config
// is replaced. The new one accepts requests immediately. The old one closes its connections after its requests in
// flight have ended. New keys replace the keys of a session without a new connection. All sessions share the limits of
// requests in flight, which are per address. They also share the memory for answers and the number of connections: a
// namespace at its limit of connections dials again after a while.
//
// # Trade-offs
//
// Each TeamTalkServer has its own connections, even if several name the same TeamTalk. So tenants cannot affect each
// other's connections, at the cost of more of them. No lock is held during a request, so a replaced session may still
// be used. Its requests fail with dbproxy.ErrNotSent and are retried on the new one.
package connection
