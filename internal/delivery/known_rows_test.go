// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func server(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "chat", Name: name}
}

// newRows knows the servers "db" and "another", which have no address in common.
func newRows() *knownRows {
	k := newKnownRows(queue.New(func(types.NamespacedName) {}))
	k.queue.SetServer(server("db"), []string{"db:1"})
	k.queue.SetServer(server("another"), []string{"another:1"})
	return k
}

func groupOf(id uint32) queue.Conversation {
	return queue.ConversationOf(server("db"), bot, v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: id})
}

func singleOf(id uint32) queue.Conversation { return queue.ConversationOf(server("db"), bot, user(id)) }

func sessionWith(id uint32) dbproxy.Session {
	return dbproxy.Session{Type: wire.SessionType_SESSION_TYPE_SINGLE, UserID: bot, ID: id}
}

// TestKnownRows keeps the newest row of each conversation by its time, in both directions.
func TestKnownRows(t *testing.T) {
	k := newRows()
	k.note(singleOf(alice), sessionWith(alice), knownRow{7, 100})
	k.note(singleOf(alice), sessionWith(alice), knownRow{9, 90})
	back := queue.ConversationOf(server("db"), alice, user(bot))
	if row, known := k.shown(back); !known || row != (knownRow{7, 100}) {
		t.Errorf("%v, %v", row, known)
	}
	if _, known := k.shown(queue.ConversationOf(server("another"), bot, user(alice))); known {
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
	k := newRows()
	for id := range uint32(maxKnownRows + 1000) {
		k.note(singleOf(10+id), sessionWith(10+id), knownRow{1, id})
		if _, known := k.shown(singleOf(10 + id)); !known {
			t.Fatal("the last one is not known")
		}
	}
	if n := k.rows; n > maxKnownRows || n != k.storeOf(singleOf(1)).count() {
		t.Errorf("%d rows", n)
	}
	if rows, _ := k.controls(singleOf(1)); len(rows) != maxControls {
		t.Errorf("%d controls", len(rows))
	}
}

// TestControls are of the group's table, if there are any; else of other groups. For single chats, they are of single
// chats.
func TestControls(t *testing.T) {
	k := newRows()
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

// TestStoresAreJoined: the known rows of a store are shared by its servers, and remain known to servers that are split
// off.
func TestStoresAreJoined(t *testing.T) {
	k := newKnownRows(queue.New(func(types.NamespacedName) {}))
	under := func(name string, to uint32) queue.Conversation {
		return queue.ConversationOf(server(name), bot, user(to))
	}
	for _, name := range []string{"a", "b", "c"} {
		k.queue.SetServer(server(name), []string{name})
	}
	k.note(under("a", alice), sessionWith(alice), knownRow{7, 100})
	k.noteStored(under("a", alice), sessionWith(alice), knownRow{7, 100}, time.Unix(99, 0), time.Unix(100, 0), time.Second)
	k.noteRecorded(under("a", bob), sessionWith(bob), knownRow{3, 50})
	wantKnown := func(servers ...string) {
		t.Helper()
		for _, name := range servers {
			if row, _ := k.shown(under(name, alice)); row != (knownRow{7, 100}) {
				t.Errorf("%s: %v", name, row)
			}
			if _, known := k.shownOrRecorded(under(name, bob)); !known {
				t.Errorf("%s: no recorded row", name)
			}
			if n := len(k.stored(under(name, alice))); n != 1 {
				t.Errorf("%s: %d rows stored", name, n)
			}
			if rows, _ := k.controls(under(name, alice)); len(rows) != 2 {
				t.Errorf("%s: %d controls", name, len(rows))
			}
		}
	}
	wantKnown("a")
	if _, known := k.shown(under("b", alice)); known {
		t.Error("b is of another store")
	}
	k.queue.SetServer(server("b"), []string{"a", "b", "c"})
	k.note(under("c", alice), sessionWith(alice), knownRow{6, 90})
	wantKnown("a", "b", "c")
	k.queue.SetServer(server("b"), []string{"b"})
	wantKnown("a", "b", "c")
}

// TestStoresAreForgotten: the known rows of removed servers are kept for the last ones.
func TestStoresAreForgotten(t *testing.T) {
	k := newRows()
	k.queue.StoresChanged = k.follow
	const servers = 3000
	for n := range servers {
		key := server(fmt.Sprint(n))
		k.queue.SetServer(key, []string{key.Name})
		k.note(queue.ConversationOf(key, bot, user(alice)), sessionWith(alice), knownRow{1, 1})
		k.queue.RemoveServer(key)
		k.note(queue.ConversationOf(key, bot, user(bob)), sessionWith(bob), knownRow{1, 1})
	}
	if len(k.stores) != 0 || len(k.gone) != maxGone || k.rows != maxGone {
		t.Errorf("%d stores, %d gone, %d rows", len(k.stores), len(k.gone), k.rows)
	}
	for name, want := range map[string]bool{fmt.Sprint(servers - 1): true, "0": false} {
		k.queue.SetServer(server(name), []string{"new" + name})
		if _, known := k.shown(queue.ConversationOf(server(name), bot, user(alice))); known != want {
			t.Errorf("created again, server %s knows the row: %v", name, known)
		}
	}
}

// TestLastStoreIsRestored: a server that had another store before is deleted and created again. The last known rows are
// restored, and are no longer kept separately.
func TestLastStoreIsRestored(t *testing.T) {
	k := newRows()
	k.queue.StoresChanged = k.follow
	c := queue.ConversationOf(server("another"), bot, user(alice))
	for n := range uint32(10) {
		k.note(c, sessionWith(alice), knownRow{n, 100 + n})
		k.queue.SetServer(c.Server, []string{"db:1", "another:1"})
		k.queue.SetServer(c.Server, []string{"another:1"})
	}
	last := knownRow{50, 200}
	k.note(c, sessionWith(alice), last)
	k.queue.RemoveServer(c.Server)
	if len(k.gone) > 2 {
		t.Errorf("%d stores of two servers are kept", len(k.gone))
	}
	k.queue.SetServer(c.Server, []string{"another:1"})
	if row, _ := k.shown(c); row != last {
		t.Errorf("%v is known, want %v", row, last)
	}
	rows := k.storeOf(c).count() + k.storeOf(singleOf(alice)).count()
	for _, gone := range k.gone {
		rows += gone.count()
	}
	if k.rows != rows {
		t.Errorf("%d rows are counted, of %d", k.rows, rows)
	}
}

// TestRowsAreEvictedFairly: a tenant with more rows than are kept does not take the place of those of another.
func TestRowsAreEvictedFairly(t *testing.T) {
	k := newRows()
	k.note(singleOf(alice), sessionWith(alice), knownRow{7, 100})
	for id := range uint32(maxKnownRows + 1000) {
		k.note(queue.ConversationOf(server("another"), bot, user(id)), sessionWith(id), knownRow{1, 1})
	}
	if _, known := k.shown(singleOf(alice)); !known || k.rows != maxKnownRows {
		t.Errorf("%d rows, and the other tenant's is known: %v", k.rows, known)
	}
}
