package delivery

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// name is a message's, or a server's.
func name(s string) types.NamespacedName { return types.NamespacedName{Namespace: "chat", Name: s} }

func names(keys []types.NamespacedName) (all []string) {
	for _, k := range keys {
		all = append(all, k.Name)
	}
	return all
}

// porch asks rooms for places, and compares whom they call.
type porch struct {
	*testing.T
	rooms
}

func (p *porch) called(did string, got []types.NamespacedName, want []string) {
	p.Helper()
	if !slices.Equal(names(got), want) {
		p.Errorf("%s: called %v, want %v", did, names(got), want)
	}
}

func (p *porch) enter(server, message string, n int, want bool, wantCalled ...string) {
	p.Helper()
	got, called := p.rooms.enter(name(server), name(message), n, Order{Name: message})
	if got != want {
		p.Errorf("%s at %s: let in: %v", message, server, got)
	}
	p.called(message+" at "+server, called, wantCalled)
}

func (p *porch) submit(server, message string, n int, wantCalled ...string) {
	p.Helper()
	p.called("submit "+message, p.take(name(server), name(message), n), wantCalled)
}

func (p *porch) leave(server string, wantCalled ...string) {
	p.Helper()
	p.called("leave "+server, p.rooms.leave(name(server)), wantCalled)
}

func (p *porch) gone(message string, wantCalled ...string) {
	p.Helper()
	p.called("gone "+message, p.rooms.gone(name(message)), wantCalled)
}

func (p *porch) empty() {
	p.Helper()
	if len(p.halls) != 0 || len(p.guests) != 0 {
		p.Errorf("left over: %v, %v", p.halls, p.guests)
	}
}

// TestRooms lets in who fits, and calls the others when they do, the oldest first and
// each once.
func TestRooms(t *testing.T) {
	for name, walk := range map[string]func(p *porch){
		"the oldest first": func(p *porch) {
			p.enter("s", "a", 2, true)
			p.submit("s", "a", 2)
			p.enter("s", "d", 2, false)
			p.enter("s", "b", 1, true) // it is older, and fits
			p.submit("s", "b", 1)
			p.enter("s", "e", 1, false)
			p.enter("s", "c", 3, false)
			p.enter("s", "c", 3, false) // asked again, it stands in line once
			p.leave("s")
			p.leave("s")
			p.leave("s", "c") // what comes behind it does not fit
			p.enter("s", "c", 3, true)
			p.submit("s", "c", 3)
			p.leave("s")
			p.leave("s", "d")
			p.leave("s") // it is on its way
			p.enter("s", "e", 1, false)
			p.enter("s", "d", 2, true, "e")
			p.submit("s", "d", 2)
			p.enter("s", "e", 1, true)
			p.submit("s", "e", 1)
			p.leave("s")
			p.leave("s")
			p.leave("s")
		},
		"servers have rooms of their own": func(p *porch) {
			p.enter("s", "a", 3, true)
			p.enter("s", "b", 1, false)
			p.enter("t", "c", 9, true) // alone, whatever its size
			p.gone("c")
			p.gone("a", "b")
			p.gone("b")
		},
		"what is promised is taken": func(p *porch) {
			p.enter("s", "a", 2, true)
			p.enter("s", "b", 2, false)
			p.submit("s", "a", 1, "b") // fewer than it had asked for
			p.enter("s", "b", 2, true)
			p.gone("b")
			p.leave("s")
		},
		"who was called does not come": func(p *porch) {
			p.enter("s", "a", 3, true)
			p.enter("s", "b", 1, false)
			p.enter("s", "c", 1, false)
			p.gone("a", "b")
			p.gone("b", "c")
			p.enter("s", "c", 1, true)
			p.gone("c")
		},
		"who comes does not stay": func(p *porch) {
			p.enter("s", "a", 3, true)
			p.submit("s", "a", 3)
			p.enter("s", "b", 3, false)
			p.enter("s", "c", 3, false)
			p.leave("s")
			p.leave("s")
			p.leave("s", "b")
			p.enter("s", "b", 3, true)
			p.gone("b", "c")
			p.gone("c")
		},
		"an older one comes between": func(p *porch) {
			p.enter("s", "a", 3, true)
			p.submit("s", "a", 3)
			p.enter("s", "c", 3, false)
			p.leave("s")
			p.leave("s")
			p.leave("s", "c")
			p.enter("s", "b", 3, true)
			p.submit("s", "b", 3)
			p.enter("s", "c", 3, false)
			p.leave("s")
			p.leave("s")
			p.leave("s", "c")
			p.gone("c")
		},
		"made again for another server": func(p *porch) {
			for _, s := range []string{"s", "t"} {
				p.enter(s, s, 3, true)
				p.submit(s, s, 3)
			}
			p.enter("s", "m", 1, false)
			p.enter("s", "n", 1, false)
			p.enter("t", "other", 1, false)
			p.leave("s", "m")
			p.enter("t", "m", 1, false, "n")
			p.enter("s", "n", 1, true)
			p.gone("n")
			p.leave("t", "m")
			p.gone("m", "other")
			p.gone("other")
			p.leave("s")
			p.leave("s")
			p.leave("t")
			p.leave("t")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &porch{T: t, rooms: rooms{limit: 3}}
			walk(p)
			p.empty()
		})
	}
}

// TestRoomsCallOne: however many places become free at once, and however slowly those
// come who are called, each is called once, and in order.
func TestRoomsCallOne(t *testing.T) {
	const limit, waiting = 1000, 4000
	r := rooms{limit: limit}
	r.take(name("s"), name("full"), limit)
	orders := map[types.NamespacedName]Order{}
	for n := range waiting {
		m := name(fmt.Sprintf("m%05d", n))
		orders[m] = Order{Name: m.Name}
		r.enter(name("s"), m, 1, orders[m])
	}
	var queue []types.NamespacedName
	for range limit {
		queue = append(queue, r.leave(name("s"))...)
	}
	var let []string
	for len(queue) > 0 {
		m := queue[0]
		queue = queue[1:]
		ok, called := r.enter(name("s"), m, 1, orders[m])
		if !ok {
			t.Fatalf("%s was called, and is not let in", m.Name)
		}
		let = append(let, m.Name)
		queue = append(append(queue, called...), r.take(name("s"), m, 1)...)
		if len(queue) > 1 {
			t.Fatalf("called at once: %v", names(queue))
		}
	}
	if len(let) != limit || !slices.IsSorted(let) {
		t.Errorf("%d were let in, want %d in order", len(let), limit)
	}
}

// guests have an engine note whom it notifies, and a room of two.
func (h *harness) guests() (called func() []types.NamespacedName) {
	var all []types.NamespacedName
	h.rooms.limit = 2
	h.notify = func(key types.NamespacedName) {
		h.mu.Lock()
		defer h.mu.Unlock()
		all = append(all, key)
	}
	return func() []types.NamespacedName {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Clone(all)
	}
}

func (h *harness) room(message string) bool {
	return h.Room(types.NamespacedName{}, name(message), 1, Order{Name: message})
}

// TestRoom: a message that finds no room is notified when there is.
func TestRoom(t *testing.T) {
	run(t, func(h *harness) {
		called := h.guests()
		h.talk.down = true
		h.submit(h.task("full", toAlice, user(bob)))
		if h.room("next") {
			t.Error("there is room beyond the limit")
		}
		if !h.Room(types.NamespacedName{Name: "another server"}, name("else"), 5, Order{}) {
			t.Error("there is none for another server's")
		}
		advance(time.Hour)
		if h.room("next") {
			t.Error("db_proxy is away, and others are taken on")
		}
		h.talk.change(func() { h.talk.down = false })
		wantProgress(t, h.await("full", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		if !slices.Contains(called(), name("next")) {
			t.Errorf("nobody was called: %v", called())
		}
		h.NoRoom(name("next"))
		h.NoRoom(name("else"))
	})
}

// TestRoomOfThoseWhoWait: what only waits, for a router or in doubt, keeps nobody from
// being sent.
func TestRoomOfThoseWhoWait(t *testing.T) {
	for name, fails := range map[string]func(*harness){
		"no router": func(h *harness) { h.talk.noRouter = true },
		"in doubt": func(h *harness) {
			h.talk.replies, h.talk.fails = []reply{lostBefore, lostBefore}, failing("list")
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.guests()
				fails(h)
				h.submit(h.task("full", toAlice, user(bob)))
				for began := time.Now(); !h.room("next"); advance(time.Second) {
					if time.Since(began) > 2*OrderGrace {
						t.Fatalf("no room after %s", time.Since(began))
					}
				}
			})
		})
	}
}

// TestRoomOfADrain: nobody is called or let in any more.
func TestRoomOfADrain(t *testing.T) {
	run(t, func(h *harness) {
		called := h.guests()
		h.talk.down = true
		h.submit(h.task("full", toAlice, user(bob)))
		for _, guest := range []string{"a", "b", "c"} {
			h.room(guest)
		}
		ended := h.drain(context.Background())
		advance(time.Minute)
		for _, key := range called() {
			if key != name("full") {
				t.Errorf("%s is called", key)
			}
		}
		if h.room("new") {
			t.Error("one is let in")
		}
		h.record("full")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestTrackReconcile: once an engine drains, nothing is recorded of messages that it does not
// know; and it has not drained before what was being recorded is.
func TestTrackReconcile(t *testing.T) {
	run(t, func(h *harness) {
		leave, ok := h.TrackReconcile("unknown")
		if !ok {
			t.Fatal("not at work")
		}
		h.talk.down = true
		h.submit(h.task("known", toAlice))
		ended := h.drain(context.Background())
		advance(time.Minute)
		h.record("known")
		if _, ok := h.TrackReconcile("unknown"); ok {
			t.Error("it may be recorded")
		}
		known, ok := h.TrackReconcile("known")
		if !ok {
			t.Fatal("it may not be recorded")
		}
		for _, leave := range []func(){leave, known} {
			select {
			case err := <-ended:
				t.Fatalf("drained while a message is looked at: %v", err)
			default:
			}
			leave()
			advance(time.Second)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
