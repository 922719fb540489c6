// SPDX-License-Identifier: Apache-2.0

// Package router is the client of TeamTalk's route_server, which relays messages to all other servers and stores
// nothing.
//
// New returns a Client. Client.Route announces a message, Client.Announce a change of a group.
package router
