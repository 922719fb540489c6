// SPDX-License-Identifier: Apache-2.0

// Package teamtalkserver reconciles TeamTalkServers: it keeps a session for each, and
// shows in its status whether messages can be delivered through it.
//
// Reconciler is its entry point.
package teamtalkserver
