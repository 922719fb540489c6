// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestConversationOf(t *testing.T) {
	groupOfSameID := v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: bob}
	cases := map[string]struct {
		a, b     Conversation
		wantSame bool
	}{
		"both directions":       {ConversationOf(named("db"), bot, toBob), ConversationOf(named("db"), bob, user(bot)), true},
		"a group's, any sender": {ConversationOf(named("db"), bot, groupOfSameID), ConversationOf(named("db"), alice, groupOfSameID), true},
		"user and group":        {ConversationOf(named("db"), bot, toBob), ConversationOf(named("db"), bot, groupOfSameID), false},
		"stores":                {ConversationOf(named("db"), bot, toBob), ConversationOf(named("other"), bot, toBob), false},
		"peers":                 {ConversationOf(named("db"), bot, toBob), ConversationOf(named("db"), bot, toAlice), false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if (tc.a == tc.b) != tc.wantSame {
				t.Errorf("%v and %v", tc.a, tc.b)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	at := time.Unix(1000, 0)
	sorted := []Order{
		{Created: at, Seen: "9", Name: "z"},
		{Created: at.Add(time.Second), Seen: "1", Name: "y"},
		{Created: at.Add(time.Second), Seen: "20", Name: "a"},
		{Created: at.Add(time.Second), Seen: "20", Name: "b"},
	}
	for i, o := range sorted {
		for j, p := range sorted {
			if o.Before(p) != (i < j) {
				t.Errorf("%v before %v: %v", o, p, o.Before(p))
			}
		}
	}
}

// conversations are used by goroutines that note what they acquire.
type conversations struct {
	*Queue
	*testing.T
	acquired chan string
}

func newConversations(t *testing.T) *conversations {
	return &conversations{New(func(types.NamespacedName) {}), t, make(chan string, 10)}
}

// waiter is a Place whose goroutine waits.
type waiter struct {
	*Place
	woken chan struct{}
}

// Acquire waits until the place holds its conversation, or ctx is done.
func (w waiter) Acquire(ctx context.Context) error {
	for !w.Place.Acquire() {
		select {
		case <-w.woken:
		case <-ctx.Done():
			w.Release() // also if it was granted at the same moment
			return ctx.Err()
		}
	}
	return nil
}

// place returns a place that waits for a conversation, or holds it.
func (c *conversations) place(key Conversation, o Order) waiter {
	w := waiter{woken: make(chan struct{}, 1)}
	w.Place = c.Submit(Submission{Order: o, Conversations: []Conversation{key}, Wake: func(int) {
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}})[0]
	return w
}

func (c *conversations) acquire(p waiter) {
	c.Helper()
	if err := p.Acquire(c.Context()); err != nil {
		c.Fatal(err)
	}
}

// pass waits for a conversation and passes it on, in a goroutine.
func (c *conversations) pass(ctx context.Context, key Conversation, o Order) {
	p := c.place(key, o)
	go func() {
		if p.Acquire(ctx) != nil {
			c.acquired <- "cancelled " + o.Name
			return
		}
		c.acquired <- o.Name
		p.Release()
	}()
	synctest.Wait()
}

func (c *conversations) wantAcquired(want ...string) {
	c.Helper()
	synctest.Wait()
	var got []string
	for len(c.acquired) > 0 {
		got = append(got, <-c.acquired)
	}
	if !slices.Equal(got, want) {
		c.Errorf("acquired in order %q, want %q", got, want)
	}
	if held, waiting := c.Count(); held != 0 || waiting != 0 {
		c.Errorf("%d conversations are still held, %d places wait", held, waiting)
	}
}

// peers is a conversation of a server.
func peers(server string, high uint32) Conversation {
	return Conversation{named(server), Participants{High: high}}
}

func cancelledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// holds reports whether the place holds its conversation.
func (p *Place) holds() bool {
	return p.conversation != nil && slices.Contains(p.conversation.held, p)
}

// TestOlderWaits: a place that holds a conversation is woken by an older place only.
func TestOlderWaits(t *testing.T) {
	c := newConversations(t)
	at := func(second int64) Order { return Order{Created: time.Unix(second, 0)} }
	held := c.place(Conversation{}, at(5))
	c.acquire(held)
	for _, tc := range []struct {
		second int64
		want   int
	}{{6, 0}, {4, 1}, {3, 1}} {
		c.place(Conversation{}, at(tc.second))
		if got := len(held.woken); got != tc.want {
			t.Errorf("after one of second %d waits: %d, want %d", tc.second, got, tc.want)
		}
	}
}

func TestConversationInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConversations(t)
		key, other := peers("", 1), peers("", 2)
		held := c.place(key, Order{Created: time.Unix(5, 0), Name: "held"})
		c.acquire(held)
		if held.Requeue() {
			t.Error("requeued behind nobody")
		}
		ctx, cancel := context.WithCancel(t.Context())
		for _, second := range []int64{8, 6, 9, 7} {
			o := Order{Created: time.Unix(second, 0), Name: string(rune('0' + second))}
			if second == 7 {
				c.pass(ctx, key, o)
			} else {
				c.pass(t.Context(), key, o)
			}
		}
		if held.Requeue() {
			t.Error("requeued behind younger ones")
		}
		free := c.place(other, Order{})
		c.acquire(free)
		free.Release()
		cancel()
		synctest.Wait()
		c.pass(t.Context(), key, Order{Created: time.Unix(4, 0), Name: "4"})
		held.Release()
		c.wantAcquired("cancelled 7", "4", "6", "8", "9")
	})
}

// TestCancelledWhileGranted: a place that is cancelled at the moment at which it is
// granted the conversation keeps nothing, whichever of the two it notices.
func TestCancelledWhileGranted(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			c := newConversations(t)
			held := c.place(Conversation{}, Order{})
			c.acquire(held)
			ctx, cancel := context.WithCancel(t.Context())
			c.pass(ctx, Conversation{}, Order{Name: "a"})
			c.pass(t.Context(), Conversation{}, Order{Name: "b"})
			// Both before the one that waits runs again: granted, and cancelled.
			c.mu.Lock()
			cancel()
			c.mu.Unlock()
			held.Release()
			if first, second := <-c.acquired, <-c.acquired; first != "b" && second != "b" {
				t.Errorf("got %q and %q", first, second)
			}
			c.wantAcquired()
		})
	}
}

// TestPlaceRequeue: between giving way and waiting again, no younger place gets in.
func TestPlaceRequeue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConversations(t)
		held := c.place(Conversation{}, Order{Name: "m"})
		c.acquire(held)
		for _, name := range []string{"z", "a", "n", "b"} {
			c.pass(t.Context(), Conversation{}, Order{Name: name})
		}
		for held.Requeue() {
			c.acquire(held)
		}
		c.acquired <- "m"
		older := c.place(Conversation{}, Order{Name: "l"})
		if !held.Requeue() {
			t.Error("not requeued behind an older one")
		}
		if err := held.Acquire(cancelledContext()); !errors.Is(err, context.Canceled) {
			t.Errorf("acquire: %v", err)
		}
		c.acquire(older)
		older.Release()
		c.wantAcquired("a", "b", "m", "n", "z")
	})
}

// TestAcquireAgain: a place that holds its conversation acquires it at once, whatever its
// context is; one that has released it waits again.
func TestAcquireAgain(t *testing.T) {
	c := newConversations(t)
	a, b := c.place(Conversation{}, Order{Name: "a"}), c.place(Conversation{}, Order{Name: "b"})
	c.acquire(a)
	if err := a.Acquire(cancelledContext()); err != nil {
		t.Errorf("acquire what is held: %v", err)
	}
	if err := b.Acquire(cancelledContext()); !errors.Is(err, context.Canceled) {
		t.Errorf("acquire: %v", err)
	}
	b.Release()
	a.Release()
	a.Release()
	c.acquire(b)
}

// TestJoinWhileHeld: where two stores turn out to be one while a conversation is held in
// each, the younger place that holds it gives way, and all others wait for both.
func TestJoinWhileHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConversations(t)
		older, younger := c.place(peers("a", 1), Order{Name: "2"}), c.place(peers("b", 1), Order{Name: "3"})
		c.acquire(older)
		c.acquire(younger)
		for server, name := range map[string]string{"a": "5", "b": "4"} {
			c.pass(t.Context(), peers(server, 1), Order{Name: name})
		}
		if older.Requeue() || younger.Requeue() {
			t.Error("requeued before the stores are joined")
		}
		c.SetServer(named("a"), []string{"1", "2"})
		c.SetServer(named("b"), []string{"2"})
		if older.Requeue() {
			t.Error("the older one gives way")
		}
		if !younger.Requeue() {
			t.Error("the younger one does not give way")
		}
		again := make(chan error, 1)
		go func() { again <- younger.Acquire(t.Context()) }()
		synctest.Wait()
		if len(again) > 0 || len(c.acquired) > 0 {
			t.Error("another one went on while the older one held the conversation")
		}
		older.Release()
		if err := <-again; err != nil {
			t.Fatal(err)
		}
		younger.Release()
		c.wantAcquired("4", "5")
	})
}
