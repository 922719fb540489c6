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
// Manager.Get returns the Session of a server. Session.Send stores a message, Session.Route announces
// it, and Session.Path reads over one connection to one db_proxy: answers prove something about each
// other only if they come from the same process. WaitReady waits for a connection and a key, and WaitRouter for a
// router.
//
// # Implementation
//
// A session dials in the background once it has a key, and redials with backoff; requests do not wait for a
// connection. They pick a connected db_proxy in turn, and the router that has been connected for the longest time. A
// session with a changed Config is replaced: the new one accepts requests at once, and the old one closes its
// connections after its requests in flight have ended. New keys replace the keys of a session without a new
// connection. The limits of requests in flight belong to the address that a connection is made to, and are shared by
// all sessions. All sessions share the memory for answers, and the number of connections: a namespace that has as many
// as it may have dials again after a while.
//
// # Trade-offs
//
// Each TeamTalkServer has its own connections, even if several name the same TeamTalk: tenants cannot affect each
// other's connections, at the cost of more of them. No lock is held during a request, so a session that was
// replaced may still be used: its requests fail with dbproxy.ErrNotSent and are retried on the new one.
package connection
