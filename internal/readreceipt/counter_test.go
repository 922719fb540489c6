// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// lag is how far a replica may be behind.
const lag = 5 * time.Second

// asks reports an answered counter of a user's chat to the tracker.
func (h *harness) asks(user, count, latest uint32, l Listening) {
	h.NoteCounter(chat, Chat{user, sender}, Counter{time.Now(), count, latest}, l)
}

// confirm has two counters prove that a message is unread.
func (h *harness) confirm(m to, listens time.Time) {
	l := Listening{Since: listens, ReplicaLag: lag}
	h.asks(m.id, 1, m.msg, l)
	pass(lag)
	h.asks(m.id, 1, m.msg, l)
}

// TestProve: the counter counts the last messages to the user.
func TestProve(t *testing.T) {
	asked := time.Now()
	for name, tc := range map[string]struct {
		unread        uint32 // 0: not asked for before
		latest, count uint32
		listens       time.Duration // since the first counter
		want          proof
	}{
		"the latest":                    {1, 5, 1, 0, proofUnread},
		"two, with it":                  {2, 6, 2, 0, proofUnread},
		"one that is later":             {1, 6, 1, 0, proofNone},
		"later ones, also its own":      {3, 9, 3, 0, proofNone},
		"all read":                      {1, 5, 0, 0, proofNone},
		"asked for the first time":      {0, 5, 1, 0, proofPending},
		"ids began again":               {3, 2, 3, 0, proofNone},
		"read and written to meanwhile": {1, 6, 2, 0, proofNone},
		"a router was away since":       {3, 6, 1, 1, proofPending},
	} {
		t.Run(name, func(t *testing.T) {
			r := receipt{last: 5}
			if tc.unread > 0 {
				r.counter = &askedCounter{count: tc.unread, at: asked}
			}
			got := r.prove(Counter{asked.Add(lag), tc.count, tc.latest}, Listening{Since: asked.Add(tc.listens), ReplicaLag: lag})
			if got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// TestCounters: what counters that are asked for in turn make known of a message, and when the next one is due.
func TestCounters(t *testing.T) {
	m := user(3, 5)
	for name, tc := range map[string]struct {
		happens func(h *harness, l *Listening)
		want    Review
		wantDue bool
	}{
		"nothing":          {func(*harness, *Listening) {}, Review{Waiting: 1}, true},
		"one":              {func(h *harness, l *Listening) { h.asks(3, 1, 5, *l) }, Review{Waiting: 1}, false},
		"one, for long":    {func(h *harness, l *Listening) { h.asks(3, 1, 5, *l); pass(lag) }, Review{Waiting: 1}, true},
		"one after it":     {func(h *harness, l *Listening) { h.asks(3, 1, 5, *l); h.asks(3, 1, 5, *l) }, Review{Waiting: 1}, false},
		"two":              {func(h *harness, l *Listening) { h.confirm(m, l.Since) }, Review{Unread: 1}, false},
		"of another":       {func(h *harness, l *Listening) { h.confirm(user(4, 5), l.Since) }, Review{Waiting: 1}, true},
		"none is unread":   {func(h *harness, l *Listening) { h.asks(3, 0, 5, *l) }, Review{MayBeRead: 1}, false},
		"it is read later": {func(h *harness, l *Listening) { h.asks(3, 0, 5, *l); h.reads(3, sender, 5) }, Review{Unread: 1}, false},
		// It may have been read while the router was away.
		"a router was away": {func(h *harness, l *Listening) { h.confirm(m, l.Since); pass(1); l.Since = time.Now() }, Review{Waiting: 1}, true},
		"a router was away between two": {func(h *harness, l *Listening) {
			h.asks(3, 3, 5, *l)
			pass(lag)
			l.Since = time.Now()
			h.asks(3, 1, 6, *l) // it was read, and another one came
		}, Review{Waiting: 1}, false},
		"a router is away":    {func(h *harness, l *Listening) { h.confirm(m, l.Since); l.Since = time.Time{} }, Review{Unanswered: 1, Grace: LostGrace}, false},
		"no answer":           {func(h *harness, l *Listening) { h.fails(3) }, Review{Unanswered: 1, Grace: LostGrace}, false},
		"no answer, for long": {func(h *harness, l *Listening) { h.fails(3); pass(UnansweredRetry) }, Review{Unanswered: 1, Grace: LostGrace}, true},
		"an answer again": {func(h *harness, l *Listening) {
			h.fails(3)
			pass(UnansweredRetry)
			h.asks(3, 1, 5, *l)
		}, Review{Waiting: 1}, false},
		"db_proxy is silent": {func(h *harness, l *Listening) { l.Silent = true }, Review{Unanswered: 1, Grace: LostGrace}, true},
		"asked for before it is kept": {func(h *harness, l *Listening) {
			h.NoteCounter(chat, Chat{3, sender}, Counter{time.Now().Add(-time.Second), 0, 5}, *l)
		}, Review{Waiting: 1}, true},
		"a notify was dropped":         {func(h *harness, l *Listening) { h.confirm(m, l.Since); h.drops(chat) }, Review{Waiting: 1}, true},
		"a notify was dropped between": {func(h *harness, l *Listening) { h.asks(3, 1, 5, *l); h.drop(chat); pass(lag); h.asks(3, 1, 5, *l) }, Review{Waiting: 1}, false},
		"another server's was dropped": {func(h *harness, l *Listening) { h.confirm(m, l.Since); h.drops(other) }, Review{Unread: 1}, false},
		"kept no longer":               {func(h *harness, l *Listening) { h.Unkeep(m.resource(), []Sent{m.sent()}) }, Review{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				l := Listening{Since: time.Now().Add(-time.Hour), ReplicaLag: lag}
				pass(time.Second)
				h.Keep(m.resource(), chat, sender, m.recorded())
				tc.happens(h, &l)
				synctest.Wait()
				if got := h.Review(chat, l, time.Now()); got != tc.want {
					t.Errorf("%+v, want %+v", got, tc.want)
				}
				if got := h.Review(other, l, time.Now()); got != (Review{}) {
					t.Errorf("another server's: %+v", got)
				}
				due := fmt.Sprint(h.DueChats(chat, l, time.Now(), 9))
				if want := map[bool]string{true: "map[3:[{3 1}]]", false: "map[]"}[tc.wantDue]; due != want {
					t.Errorf("due are %s, want %s", due, want)
				}
			})
		})
	}
}

// fails reports a request for a user's counters that was not answered.
func (h *harness) fails(user uint32) { h.NoteUnanswered(chat, []Chat{{user, sender}}, time.Now()) }

// drops reports a discarded notify, sends another one, and waits until the queue is empty.
func (h *harness) drops(server types.NamespacedName) {
	h.drop(server)
	h.reads(9, 9, 9)
	synctest.Wait()
}

// TestDueChats: a user's counters are asked for together, once for all messages of a chat.
func TestDueChats(t *testing.T) {
	withTracker(t, func(h *harness) {
		l := Listening{Since: time.Now(), ReplicaLag: lag}
		for i, m := range []to{user(3, 5), user(3, 6), user(4, 5), group(7, 5)} {
			h.Keep(m.resource(), chat, sender+uint32(i/2), m.recorded())
		}
		read := user(5, 5)
		h.Keep(read.resource(), chat, sender, []Recorded{{Sent: read.sent(), Read: true}})
		h.sent(user(6, 5)) // is not kept
		if got, want := fmt.Sprint(h.DueChats(chat, l, time.Now(), 9)), "map[3:[{3 1}] 4:[{4 2}]]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if due := h.DueChats(chat, l, time.Now(), 1); len(due) != 1 {
			t.Errorf("%v, want one user's", due)
		}
		h.asks(3, 2, 6, l)
		if got, want := fmt.Sprint(h.DueChats(chat, l, time.Now(), 9)), "map[4:[{4 2}]]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		pass(lag)
		h.asks(3, 2, 6, l)
		if got, want := h.Review(chat, l, time.Now()), (Review{Unread: 3, Waiting: 1, MayBeRead: 1}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// TestReview: a message is woken if its status shows something else than is known.
func TestReview(t *testing.T) {
	m, g := user(3, 5), group(7, 5)
	for name, tc := range map[string]struct {
		of      to
		shown   int
		happens func(h *harness, l *Listening)
		want    bool
	}{
		"not known yet":                 {m, 0, func(*harness, *Listening) {}, false},
		"a group":                       {g, 0, func(*harness, *Listening) {}, true},
		"a group, and that is shown":    {g, 1, func(*harness, *Listening) {}, false},
		"unread":                        {m, 0, func(h *harness, l *Listening) { h.confirm(m, l.Since) }, false},
		"unread, and not shown":         {m, 1, func(h *harness, l *Listening) { h.confirm(m, l.Since) }, true},
		"unread, and another has shown": {m, UnknownMissed, func(h *harness, l *Listening) { h.confirm(m, l.Since) }, true},
		"may be read":                   {m, 0, func(h *harness, l *Listening) { h.asks(3, 0, 5, *l) }, true},
		"no answer":                     {m, 0, func(h *harness, _ *Listening) { h.fails(3) }, false},
		"no answer for long": {m, 0, func(h *harness, l *Listening) {
			h.fails(3)
			h.Review(chat, *l, time.Now())
			pass(LostGrace)
		}, true},
		"an answer in time": {m, 0, func(h *harness, l *Listening) {
			l.Silent = true
			h.Review(chat, *l, time.Now())
			pass(LostGrace - 1)
			l.Silent = false
			h.Review(chat, *l, time.Now())
			pass(LostGrace)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				l := Listening{Since: time.Now(), ReplicaLag: lag}
				h.Keep(tc.of.resource(), chat, sender, tc.of.recorded())
				h.NoteShown(tc.of.resource(), tc.shown)
				tc.happens(h, &l)
				var woken []types.NamespacedName
				h.Wake = func(key types.NamespacedName) { woken = append(woken, key) }
				h.Review(chat, l, time.Now())
				if got := slices.Contains(woken, tc.of.resource().Key); got != tc.want {
					t.Errorf("woken: %v", woken)
				}
				missed, ok := h.Missed(tc.of.resource(), l, time.Now())
				if h.NoteShown(tc.of.resource(), missed); ok {
					woken = nil
					if h.Review(chat, l, time.Now()); woken != nil {
						t.Error("woken again")
					}
				}
			})
		})
	}
}
