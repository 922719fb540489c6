// SPDX-License-Identifier: Apache-2.0

package store

// schema mirrors TeamTalk's tables and, in drawn, unread and read_count, the
// counters it keeps in Redis. ContentLimit is applied by Send, since what a
// stock server does beyond it depends on the SQL mode.
const schema = `
CREATE TABLE IF NOT EXISTS users (
	id         INTEGER PRIMARY KEY,
	gender     INTEGER NOT NULL,
	nick       TEXT NOT NULL,
	avatar     TEXT NOT NULL,
	department INTEGER NOT NULL,
	email      TEXT NOT NULL,
	name       TEXT NOT NULL,
	tel        TEXT NOT NULL,
	domain     TEXT NOT NULL,
	status     INTEGER NOT NULL,
	sign       TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS groups (
	id      INTEGER PRIMARY KEY,
	name    TEXT NOT NULL,
	avatar  TEXT NOT NULL,
	creator INTEGER NOT NULL,
	type    INTEGER NOT NULL,
	version INTEGER NOT NULL,
	updated INTEGER NOT NULL -- unix milliseconds
);

CREATE TABLE IF NOT EXISTS members (
	group_id   INTEGER NOT NULL,
	user_id    INTEGER NOT NULL,
	joined     INTEGER NOT NULL, -- unix seconds; older history is hidden
	read_count INTEGER NOT NULL, -- messages of the group that the member has read
	PRIMARY KEY (group_id, user_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_user ON members (user_id);

-- A pair of users (low < high) or a group (low is its id, high is 0).
CREATE TABLE IF NOT EXISTS conversations (
	id     INTEGER PRIMARY KEY,
	kind   INTEGER NOT NULL,
	low    INTEGER NOT NULL,
	high   INTEGER NOT NULL,
	drawn  INTEGER NOT NULL, -- the last msg_id drawn, stored or not
	stored INTEGER NOT NULL, -- rows in messages
	UNIQUE (kind, low, high)
);
CREATE INDEX IF NOT EXISTS conversations_high ON conversations (kind, high);

CREATE TABLE IF NOT EXISTS messages (
	id           INTEGER PRIMARY KEY,
	conversation INTEGER NOT NULL,
	msg_id       INTEGER NOT NULL,
	from_id      INTEGER NOT NULL,
	to_id        INTEGER NOT NULL,
	create_time  INTEGER NOT NULL, -- unix seconds, as the sender set it
	type         INTEGER NOT NULL,
	content      BLOB NOT NULL,
	stored_at    INTEGER NOT NULL, -- unix milliseconds, of this server's clock
	routed       INTEGER NOT NULL  -- how often the router has relayed it
);
CREATE INDEX IF NOT EXISTS messages_newest ON messages (conversation, create_time, id);
CREATE INDEX IF NOT EXISTS messages_msg_id ON messages (conversation, msg_id);

CREATE TABLE IF NOT EXISTS unread (
	user_id INTEGER NOT NULL,
	peer_id INTEGER NOT NULL,
	count   INTEGER NOT NULL,
	PRIMARY KEY (user_id, peer_id)
) WITHOUT ROWID;
`
