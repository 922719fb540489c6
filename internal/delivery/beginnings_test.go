// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"maps"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestBeginningOfAGroup: all members of a young group are asked once. Later first searches ask one who is shown as much.
// When the sender has joined again, what it has sent before is found.
func TestBeginningOfAGroup(t *testing.T) {
	const others = 20
	type scenario struct {
		// senderJoinedLate, and alice is shown an older row; nobody: one of the others is shown nothing.
		senderJoinedLate, nobody bool
		first, second            map[string]int
	}
	runEach(t, map[string]scenario{
		"the sender sees it": {
			first: map[string]int{"list": 2 + others, "groups": 1}, second: map[string]int{"list": 1},
		},
		"another one sees it": {
			senderJoinedLate: true,
			first:            map[string]int{"list": 2 + others, "groups": 1}, second: map[string]int{"list": 2, "groups": 1},
		},
		"one sees nothing": {
			nobody: true,
			first:  map[string]int{"list": 2 + others, "groups": 1}, second: map[string]int{"list": 2 + others, "groups": 1},
		},
	}, func(h *harness, tc scenario) {
		search := func(uid string, want map[string]int) {
			h.t.Helper()
			spec := h.keyed(uid, "hello", toGroup)
			spec.Identity.Key = uid
			spec.Payload, spec.PayloadPending = Payload{}, true // it is searched for, and nothing more
			h.talk.reads = nil
			h.submit(spec)
			advance(time.Second)
			wantProgress(h.t, h.first(spec.UID), v1alpha1.StatePending, "")
			if !maps.Equal(h.talk.reads, want) {
				h.t.Errorf("%s: asked %v, want %v", uid, h.talk.reads, want)
			}
			h.Forget(spec.UID)
		}
		members := []uint32{bot, alice}
		h.talk.joinedAt = map[uint32]uint32{}
		h.talk.say(5, alice, time.Now())
		advance(time.Minute)
		for id := range uint32(others) {
			members = append(members, 100+id)
			h.talk.joinedAt[100+id] = uint32(time.Now().Unix())
		}
		withMembers(members...)(h.talk)
		if tc.senderJoinedLate {
			h.talk.joinedAt[bot] = uint32(time.Now().Unix())
		}
		h.talk.say(6, alice, time.Now())
		advance(2 * attemptTTL)
		if tc.nobody {
			h.talk.joinedAt[100] = uint32(time.Now().Unix())
		}
		search("first", tc.first)
		search("second", tc.second)

		spec := h.keyed("sent", "hello", toGroup)
		h.submit(spec)
		h.Forget(spec.UID)
		advance(2 * attemptTTL)
		h.talk.joinedAt[bot] = uint32(time.Now().Unix())
		h.talk.say(7, alice, time.Now())
		advance(time.Minute)
		h.submit(h.keyed("again", "hello", toGroup))
		wantProgress(h.t, h.await("again", time.Minute).Recipients[0], v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted)
		h.wantRows(4)
	})
}

// TestBeginningsAreBounded: those of other groups are forgotten, and all of a server that is gone.
func TestBeginningsAreBounded(t *testing.T) {
	k := newRows()
	k.queue.StoresChanged = k.follow
	for id := range uint32(2 * maxBeginnings) {
		k.noteBeginning(groupOf(id), beginning{1, bot})
		if k.beginning(groupOf(id)).reader != bot {
			t.Fatal("the last one is not known")
		}
	}
	if n := len(k.storeOf(groupOf(1)).beginnings); n != maxBeginnings {
		t.Errorf("%d are remembered", n)
	}
	last, server := groupOf(2*maxBeginnings-1), server("db")
	k.queue.RemoveServer(server)
	k.noteBeginning(last, beginning{1, bot})
	k.queue.SetServer(server, []string{"another TeamTalk"})
	if known := k.beginning(last); known != (beginning{}) {
		t.Errorf("%+v is known of a server that is created again", known)
	}
}
