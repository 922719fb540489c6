// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func groupOf(id uint32) queue.Conversation {
	return queue.ConversationOf("db", bot, v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: id})
}

func singleOf(id uint32) queue.Conversation { return queue.ConversationOf("db", bot, user(id)) }

func sessionWith(id uint32) dbproxy.Session {
	return dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: bot, ID: id}
}

// TestKnownRows keeps the newest row of each conversation by its time, in both directions.
func TestKnownRows(t *testing.T) {
	k := newKnownRows()
	k.note(singleOf(alice), sessionWith(alice), knownRow{7, 100})
	k.note(singleOf(alice), sessionWith(alice), knownRow{9, 90})
	back := queue.ConversationOf("db", alice, user(bot))
	if row, known := k.shown(back); !known || row != (knownRow{7, 100}) {
		t.Errorf("%v, %v", row, known)
	}
	if _, known := k.shown(queue.ConversationOf("another", bot, user(alice))); known {
		t.Error("another store's row is known")
	}
	k.noteRecorded(singleOf(bob), sessionWith(bob), knownRow{3, 50})
	if _, known := k.shown(singleOf(bob)); known {
		t.Error("a recorded row was shown")
	}
	if row, known := k.shownOrRecorded(singleOf(bob)); !known || row.id != 3 {
		t.Errorf("recorded: %v, %v", row, known)
	}
}

// TestKnownRowsAreBounded: conversations are forgotten, never the last one.
func TestKnownRowsAreBounded(t *testing.T) {
	k := newKnownRows()
	for id := range uint32(maxKnownRows + 1000) {
		k.note(singleOf(10+id), sessionWith(10+id), knownRow{1, id})
		if _, known := k.shown(singleOf(10 + id)); !known {
			t.Fatal("the last one is not known")
		}
	}
	if n := len(k.newest); n > maxKnownRows {
		t.Errorf("%d rows", n)
	}
	if rows, _ := k.controls(singleOf(1)); len(rows) != maxControls {
		t.Errorf("%d controls", len(rows))
	}
}

// TestControls are of the group's table, if there are any; else of other groups. For single chats, they are of single
// chats.
func TestControls(t *testing.T) {
	k := newKnownRows()
	ids := func(c queue.Conversation) (ids []uint32) {
		rows, _ := k.controls(c)
		for _, row := range rows {
			ids = append(ids, row.ID)
		}
		return ids
	}
	want := func(c queue.Conversation, want ...uint32) {
		t.Helper()
		if got := ids(c); !slices.Equal(got, want) {
			t.Errorf("controls of %v: %v, want %v", c, got, want)
		}
	}
	want(groupOf(7))
	for _, id := range []uint32{alice, bob, alice} {
		k.note(singleOf(id), sessionWith(id), knownRow{1, 1})
	}
	want(groupOf(7), alice, bob)
	want(singleOf(20), alice, bob)
	in := sessionWith(15)
	in.Type = wire.SessionType_SESSION_TYPE_GROUP
	k.note(groupOf(15), in, knownRow{1, 1})
	want(groupOf(7), 15)
	want(groupOf(8), 15)
	want(singleOf(20), alice, bob)
}

// TestFreshRows: of those that replicas must show, the last one counts, if it is from after a time.
func TestFreshRows(t *testing.T) {
	const lag = 8 * time.Second
	k, began := newKnownRows(), time.Unix(1000, 0)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	for n := range 100 {
		k.noteStored(singleOf(alice), sessionWith(alice), knownRow{uint32(n), 1}, at(n), lag)
	}
	if n := len(k.stores["db"].fresh); n > 2*maxFresh {
		t.Errorf("%d are remembered", n)
	}
	for name, tc := range map[string]struct {
		after, before int
		want          uint32
	}{
		"the last that replicas must show": {50, 99 - 8, 91},
		"none since":                       {95, 99 - 8, 0},
		"all replicas are up to date":      {50, 99, 99},
	} {
		rows := k.stored(singleOf(alice), at(tc.after), at(tc.before))
		if got := len(rows) > 0; got != (tc.want != 0) || got && rows[0].id != tc.want {
			t.Errorf("%s: rows %v", name, rows)
		}
	}
}

// TestStoresAreMerged: what is known of a store is known under each of its names, before they are joined and after.
func TestStoresAreMerged(t *testing.T) {
	k := newKnownRows()
	under := func(store string) queue.Conversation { return queue.ConversationOf(store, bot, user(alice)) }
	k.note(under("a"), sessionWith(alice), knownRow{7, 100})
	k.noteStored(under("a"), sessionWith(alice), knownRow{7, 100}, time.Unix(100, 0), time.Second)
	k.noteRecorded(queue.ConversationOf("a", bot, user(bob)), sessionWith(bob), knownRow{3, 50})
	k.merge("a", "b")
	k.merge("b", "c")
	k.note(under("a"), sessionWith(alice), knownRow{6, 90})
	for _, store := range []string{"a", "b", "c"} {
		if row, _ := k.shown(under(store)); row != (knownRow{7, 100}) {
			t.Errorf("%s: %v", store, row)
		}
		if _, known := k.shownOrRecorded(queue.ConversationOf(store, bot, user(bob))); !known {
			t.Errorf("%s: no recorded row", store)
		}
		if n := len(k.stored(under(store), time.Unix(1, 0), time.Unix(200, 0))); n != 1 {
			t.Errorf("%s: %d rows stored", store, n)
		}
		if rows, _ := k.controls(under(store)); len(rows) != 2 {
			t.Errorf("%s: %d controls", store, len(rows))
		}
	}
}
