// SPDX-License-Identifier: Apache-2.0

// Package receiver creates TeamTalkMessages for notifications that other systems post to TeamTalkReceivers. A
// notification creates one message, even if it is posted several times or to several replicas.
//
// Handler.ServeHTTP handles a request, and Handler.Start runs the background tasks. PreviewOf returns the messages that
// a receiver would create. docs/explanation/architecture.md lists the path of a notification.
package receiver
