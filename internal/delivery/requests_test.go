// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestControlOfAnotherKind: rows of groups show that single chats can be read only if the directory shows users, and the
// other way round.
func TestControlOfAnotherKind(t *testing.T) {
	type scenario struct{ to, other v1alpha1.Recipient }
	runEach(t, map[string]scenario{
		"only a group is known": {toAlice, toGroup},
		"only a user is known":  {v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: group + 1}, toBob},
	}, func(h *harness, tc scenario) {
		h.talk.groups[group+1] = []uint32{bot, alice}
		h.deliverAll(tc.other, "other")
		spec := h.keyed("m", "hello", tc.to)
		h.store(spec)
		users, groups := h.talk.users, h.talk.groups
		h.talk.change(func() {
			h.talk.hide(tc.to)
			h.talk.users, h.talk.groups = nil, nil
		})
		h.submit(spec)
		advance(time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || h.talk.counts().sends != 1 {
			h.t.Errorf("%+v", p)
		}
		h.talk.change(func() { h.talk.hidden, h.talk.users, h.talk.groups = nil, users, groups })
		wantProgress(h.t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
	})
}

// TestControlOfGroupLeft: the only known row is of a group that the sender has left. It still shows that messages can be
// read, unless they cannot.
func TestControlOfGroupLeft(t *testing.T) {
	type scenario struct {
		members []uint32
		hidden  bool
	}
	runEach(t, map[string]scenario{
		"left":             {members: []uint32{alice}},
		"nobody is left":   {},
		"left, unreadable": {members: []uint32{alice}, hidden: true},
	}, func(h *harness, tc scenario) {
		h.deliverAll(toGroup, "other")
		withMembers(tc.members...)(h.talk)
		if tc.hidden {
			h.talk.hide(toGroup)
		}
		advance(24 * time.Hour)
		h.submit(h.keyed("m", "hello", toAlice))
		if p := h.await("m", 2*InDoubtLimit).Recipients[0]; tc.hidden {
			wantProgress(h.t, p, v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
			h.wantCounts(1, 1, 1)
		} else {
			wantProgress(h.t, p, v1alpha1.StateRouted, "")
			h.wantCounts(2, 2, 2)
		}
	})
}

// TestRequestsOfASend: an ordinary send asks for the directory and its row, and for nothing more.
func TestRequestsOfASend(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "m")
		if want := map[string]int{"users": 1, "byID": 1}; !maps.Equal(h.talk.reads, want) {
			t.Errorf("asked %v, want %v", h.talk.reads, want)
		}
	})
}

// TestRequestsOfASearch: what a search asks for.
func TestRequestsOfASearch(t *testing.T) {
	type scenario struct {
		to, other v1alpha1.Recipient
		rows      int
		// old: the group has a row from before the window of keys.
		old     bool
		restart bool
		want    map[string]int
	}
	runEach(t, map[string]scenario{
		"rows":                       {to: toAlice, rows: 3, want: map[string]int{"list": 1}},
		"rows, group":                {to: toGroup, rows: 3, old: true, want: map[string]int{"list": 1}},
		"young rows, group":          {to: toGroup, rows: 3, want: map[string]int{"list": 2, "groups": 1}},
		"many rows":                  {to: toAlice, rows: 100, want: map[string]int{"list": 2}},
		"empty":                      {to: toAlice, other: toBob, want: map[string]int{"list": 4}},
		"empty, group":               {to: toGroup, other: toBob, want: map[string]int{"list": 1, "latest": 4, "groups": 2}},
		"empty, restarted":           {to: toAlice, other: toBob, restart: true, want: map[string]int{"list": 3, "sessions": 1}},
		"empty, nothing known":       {to: toAlice, want: map[string]int{"list": 2, "sessions": 2, "users": 2}},
		"empty, nothing known,group": {to: toGroup, want: map[string]int{"list": 1, "latest": 2, "sessions": 1, "groups": 2}},
	}, func(h *harness, tc scenario) {
		if tc.old {
			h.talk.say(5, alice, time.Now().Add(-31*24*time.Hour))
		}
		for i := range tc.rows {
			h.deliverAll(tc.to, fmt.Sprint("row", i))
		}
		if tc.other != (v1alpha1.Recipient{}) {
			h.deliverAll(tc.other, "other")
		}
		if tc.restart {
			defer h.restart()()
		}
		spec := h.keyed("m", "hello", tc.to)
		spec.Payload, spec.PayloadPending = Payload{}, true // it is searched for, and nothing more
		h.talk.reads = nil
		h.submit(spec)
		advance(time.Second)
		wantProgress(h.t, h.first("m"), v1alpha1.StatePending, "")
		if !maps.Equal(h.talk.reads, tc.want) {
			h.t.Errorf("asked %v, want %v", h.talk.reads, tc.want)
		}
	})
}
