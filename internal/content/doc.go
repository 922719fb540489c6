// SPDX-License-Identifier: Apache-2.0

// Package content builds the payload of a TeamTalkMessage from its declared content, and identifies it.
//
// Text resolves a content, and Payload builds one or several TeamTalk messages from it. Identify and Digests record
// which text may be in the store.
package content
