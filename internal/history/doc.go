// SPDX-License-Identifier: Apache-2.0

// Package history reads and decrypts the messages of a conversation in TeamTalk's store.
//
// Read returns the newest messages of a conversation. db_proxy does not authenticate users, so the caller decides who
// may read a conversation. Holders of the AES key can read all texts.
package history
