// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestStage: the messages to one recipient have different seconds.
func TestStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, server, other := NewEngine(nil), types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
		e.SetAddresses(server, []string{"db"})
		e.SetAddresses(other, []string{"db"})
		now := uint32(time.Now().Unix())
		want := func(server types.NamespacedName, sender, to, want uint32) {
			t.Helper()
			if got := e.Stage(server, sender, user(to), time.Now()); got != want {
				t.Errorf("%d s from now, want %d", int(got)-int(now), int(want)-int(now))
			}
		}
		for n := range uint32(3) {
			want(server, bot, alice, now+n)
		}
		want(server, bot, bob, now)
		want(server, bob, alice, now)
		want(other, bot, alice, now+3) // in the same store
		if got := e.Stage(server, bot, toGroup, time.Now()); got != now {
			t.Errorf("to a group: %d s from now", got-now)
		}
		e.AddStaged(server, bot, user(alice), now+9)
		e.AddStaged(server, bot, user(alice), now+8)
		e.AddStaged(server, bot, user(bob), now-100)
		want(server, bot, alice, now+10)
		want(server, bot, bob, now+1)
		time.Sleep(time.Minute) // of the bubble
		want(server, bot, alice, now+60)
		if n := e.staged.last.Len(); n != 2 { // for the server and its store
			t.Errorf("%d are remembered", n)
		}
	})
}

// TestStageInOtherStores: a second is given once, whatever becomes of the stores of the servers.
func TestStageInOtherStores(t *testing.T) {
	apart, together := []string{"b"}, []string{"a", "b"}
	cases := map[string]func(e *Engine, stage func(string)){
		"parted": func(e *Engine, stage func(string)) {
			e.SetAddresses(server("b"), together)
			stage("b")
			e.SetAddresses(server("b"), apart)
		},
		"joined": func(e *Engine, stage func(string)) {
			e.SetAddresses(server("b"), apart)
			stage("b")
			e.SetAddresses(server("b"), together)
		},
		"parted and joined": func(e *Engine, stage func(string)) {
			e.SetAddresses(server("b"), together)
			e.SetAddresses(server("b"), apart)
			stage("b")
			e.SetAddresses(server("b"), together)
			stage("a")
		},
		"a server is gone": func(e *Engine, stage func(string)) {
			e.SetAddresses(server("b"), together)
			stage("b")
			e.Queue.RemoveServer(server("b"))
			stage("a")
			e.SetAddresses(server("b"), together)
		},
		"recorded of another server": func(e *Engine, stage func(string)) {
			e.AddStaged(server("b"), bot, toAlice, uint32(time.Now().Unix()))
			e.SetAddresses(server("b"), together)
			stage("a")
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, seen := NewEngine(nil), map[uint32]bool{}
				e.SetAddresses(server("a"), []string{"a"})
				if name == "recorded of another server" {
					seen[uint32(time.Now().Unix())] = true
				}
				stage := func(name string) {
					second := e.Stage(server(name), bot, toAlice, time.Now())
					if seen[second] {
						t.Errorf("a second of server %s was given before", name)
					}
					seen[second] = true
				}
				change(e, stage)
				stage("b")
			})
		})
	}
}

// TestAudioAfterParting: of two equal audio messages, the second is sent though its server has got another store in
// between.
func TestAudioAfterParting(t *testing.T) {
	run(t, func(h *harness) {
		h.SetAddresses(server("a"), []string{"db"})
		h.SetAddresses(server("b"), []string{"db", "other"})
		audio := func(uid string) Task {
			spec := h.task(uid, toAlice)
			spec.ServerKey = server("b")
			voice(&spec)
			spec.Recipients[0].CreateTime = h.Stage(spec.ServerKey, bot, toAlice, time.Now())
			return spec
		}
		h.talk.replies = []reply{plain, lostBefore}
		h.submit(audio("first"))
		h.SetAddresses(server("b"), []string{"other"})
		h.deliver(audio("second"), time.Minute, result{v1alpha1.StateRouted, "", counts{3, 2, 2}})
	})
}
