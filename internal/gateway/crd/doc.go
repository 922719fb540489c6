// SPDX-License-Identifier: Apache-2.0

// Package crd sends by creating a TeamTalkMessage for each request, which the operator delivers. The
// gateway needs no connection to TeamTalk, and the result is recorded in the message's status.
//
// Sender implements api.Sender: it creates the messages, and waits for them on one watch per namespace.
package crd
