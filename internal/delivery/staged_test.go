// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
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
		if n := e.staged.last.Len(); n != 1 {
			t.Errorf("%d are remembered", n)
		}
	})
}
