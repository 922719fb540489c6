// SPDX-License-Identifier: Apache-2.0

// Package receiver makes messages of what other systems post: it reads a body,
// finds out who is to have it, renders the text, and creates TeamTalkMessages,
// once for a notification however often and by however many it is posted.
package receiver
