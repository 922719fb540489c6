// SPDX-License-Identifier: Apache-2.0

// Package history reads what TeamTalk's store holds of a conversation, and decrypts it.
//
// Read returns the newest messages of a conversation. db_proxy authenticates nobody, so the caller decides who may read
// a conversation. Who has the AES key can read the texts of all of them.
package history
