// SPDX-License-Identifier: Apache-2.0

// Package store keeps the users, groups and messages of a development TeamTalk in an embedded SQL database, and answers
// as TeamTalk does: ids count per conversation, history is ordered by create_time, and a member of a group sees
// nothing from before it joined.
//
// Open returns a Store.
package store
