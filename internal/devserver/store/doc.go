// SPDX-License-Identifier: Apache-2.0

// Package store keeps the users, groups and messages of a development TeamTalk in an embedded SQL database. It answers
// as TeamTalk does: ids count per conversation, history is ordered by create_time, and a member of a group sees no
// messages from before it joined.
//
// Open returns a Store.
package store
