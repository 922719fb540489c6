// SPDX-License-Identifier: Apache-2.0

// Package content makes what is sent of the content that a TeamTalkMessage declares, and identifies it.
//
// Text resolves a content, and Payload makes one or several TeamTalk messages of it. Identify and Digests record which
// text may be in the store.
package content
