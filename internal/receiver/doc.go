// SPDX-License-Identifier: Apache-2.0

// Package receiver creates TeamTalkMessages for notifications that other systems post to TeamTalkReceivers: once for a
// notification, however often it is posted, and to how many replicas.
//
// Handler.ServeHTTP handles a request, and Handler.Start runs what is in the background. PreviewOf shows what a
// receiver would create. docs/explanation/architecture.md lists the path of a notification.
package receiver
