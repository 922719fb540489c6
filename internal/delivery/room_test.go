package delivery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// name is a message's, or a server's.
func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "chat", Name: s} }

// TestRooms takes in who fits, and calls the others when they do, the oldest first.
func TestRooms(t *testing.T) {
	r := rooms{limit: 3}
	enter := func(message string, n int, want bool, wantCalled ...string) {
		t.Helper()
		got, called := r.enter(name("s"), name(message), n, Order{Name: message})
		if got != want || !slices.Equal(names(called), wantCalled) {
			t.Errorf("%s: %v, called %v; want %v, %v", message, got, names(called), want, wantCalled)
		}
		if got {
			r.take(name("s"), n)
		}
	}
	leave := func(wantCalled ...string) {
		t.Helper()
		if called := names(r.leave(name("s"))); !slices.Equal(called, wantCalled) {
			t.Errorf("called %v, want %v", called, wantCalled)
		}
	}
	enter("a", 2, true)
	enter("d", 2, false)
	enter("b", 1, true) // it is older, and fits
	enter("e", 1, false)
	enter("c", 3, false)
	enter("c", 3, false) // asked again, it stands in line once
	if got, _ := r.enter(name("other"), name("x"), 9, Order{}); !got {
		t.Error("another server's messages wait")
	}
	leave()
	leave()
	leave("c") // the oldest; what comes behind it does not fit
	enter("c", 3, true)
	leave()
	leave("d")
	// d is gone. Whoever asks next finds room, as nobody older waits.
	enter("e", 1, true)
	leave()
	leave()
	if len(r.taken) != 0 || len(r.lines) != 0 || len(r.known) != 0 {
		t.Errorf("left over: %v, %v, %v", r.taken, r.lines, r.known)
	}
}

func names(keys []types.NamespacedName) (all []string) {
	for _, k := range keys {
		all = append(all, k.Name)
	}
	return all
}

// TestRoom: a message that finds no room is notified when there is.
func TestRoom(t *testing.T) {
	run(t, func(h *harness) {
		h.rooms.limit = 2
		var called []types.NamespacedName
		h.notify = func(key types.NamespacedName) {
			h.mu.Lock()
			defer h.mu.Unlock()
			called = append(called, key)
		}
		h.talk.down = true
		h.submit(h.task("full", toAlice, user(bob)))
		if h.Room(types.NamespacedName{}, name("next"), 1, Order{Name: "next"}) {
			t.Error("there is room beyond the limit")
		}
		if !h.Room(types.NamespacedName{Name: "another server"}, name("else"), 5, Order{}) {
			t.Error("there is none for another server's")
		}
		h.talk.change(func() { h.talk.down = false })
		wantProgress(t, h.await("full", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.mu.Lock()
		defer h.mu.Unlock()
		if !slices.Contains(called, name("next")) {
			t.Errorf("nobody was called: %v", fmt.Sprint(called))
		}
	})
}
