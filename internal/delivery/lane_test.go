package delivery

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestConversationOf(t *testing.T) {
	toBob := Recipient{v1alpha1.RecipientUser, bob}
	groupOfSameID := Recipient{v1alpha1.RecipientGroup, bob}
	cases := map[string]struct {
		a, b     conversation
		wantSame bool
	}{
		"both directions":       {conversationOf("db", bot, toBob), conversationOf("db", bob, user(bot)), true},
		"a group's, any sender": {conversationOf("db", bot, groupOfSameID), conversationOf("db", alice, groupOfSameID), true},
		"user and group":        {conversationOf("db", bot, toBob), conversationOf("db", bot, groupOfSameID), false},
		"stores":                {conversationOf("db", bot, toBob), conversationOf("other", bot, toBob), false},
		"peers":                 {conversationOf("db", bot, toBob), conversationOf("db", bot, toAlice), false},
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
			if o.before(p) != (i < j) {
				t.Errorf("%v before %v: %v", o, p, o.before(p))
			}
		}
	}
}

// waitFor queues for c and sends the order's name when it gets it.
func waitFor(ctx context.Context, l *lanes, c conversation, o Order, got chan<- string) {
	release, err := l.await(ctx, c, l.enter(c, o))
	if err != nil {
		got <- "cancelled " + o.Name
		return
	}
	got <- o.Name
	release()
}

func TestLanesKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lanes
		c, other := conversation{high: 1}, conversation{high: 2}
		held := Order{Created: time.Unix(5, 0), Name: "held"}
		release, err := l.await(t.Context(), c, l.enter(c, held))
		if err != nil {
			t.Fatal(err)
		}
		if l.overtaken(c, held) || l.overtaken(other, held) {
			t.Error("overtaken by nobody")
		}
		got := make(chan string, 10)
		ctx, cancel := context.WithCancel(t.Context())
		for _, second := range []int64{8, 6, 9, 7} {
			o := Order{Created: time.Unix(second, 0), Name: string(rune('0' + second))}
			if second == 7 {
				go waitFor(ctx, &l, c, o, got)
			} else {
				go waitFor(t.Context(), &l, c, o, got)
			}
			synctest.Wait()
		}
		if l.overtaken(c, held) {
			t.Error("overtaken by younger ones")
		}
		go waitFor(t.Context(), &l, c, Order{Created: time.Unix(4, 0), Name: "4"}, got)
		synctest.Wait()
		if !l.overtaken(c, held) {
			t.Error("not overtaken by an older one")
		}
		free, err := l.await(t.Context(), other, l.enter(other, held))
		if err != nil {
			t.Fatalf("another conversation: %v", err)
		}
		free()
		cancel()
		synctest.Wait()
		release()
		synctest.Wait()
		close(got)
		var order []string
		for name := range got {
			order = append(order, name)
		}
		if want := []string{"cancelled 7", "4", "6", "8", "9"}; !slices.Equal(order, want) {
			t.Errorf("got it in order %q, want %q", order, want)
		}
		if len(l.held) != 0 {
			t.Errorf("%d conversations are still held", len(l.held))
		}
	})
}

// TestLaneCancelledWhileGranted: whoever is cancelled at the moment of the grant
// keeps nothing, whichever of the two it notices.
func TestLaneCancelledWhileGranted(t *testing.T) {
	for range 100 {
		synctest.Test(t, func(t *testing.T) {
			var l lanes
			c := conversation{high: 1}
			release, err := l.await(t.Context(), c, l.enter(c, Order{}))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			got := make(chan string, 2)
			go waitFor(ctx, &l, c, Order{Name: "a"}, got)
			synctest.Wait()
			go waitFor(t.Context(), &l, c, Order{Name: "b"}, got)
			synctest.Wait()
			// Both before the waiter runs again: granted, and cancelled.
			l.mu.Lock()
			cancel()
			l.mu.Unlock()
			release()
			first, second := <-got, <-got
			if first != "b" && second != "b" {
				t.Errorf("got %q and %q", first, second)
			}
			synctest.Wait()
			if len(l.held) != 0 {
				t.Error("still held")
			}
		})
	}
}

// TestYield: between giving way and waiting again, nobody younger gets in.
func TestYield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lanes
		got := make(chan string, 10)
		held := turn{lanes: &l, order: Order{Name: "m"}}
		if err := held.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"z", "a", "n", "b"} {
			go waitFor(t.Context(), &l, conversation{}, Order{Name: name}, got)
		}
		synctest.Wait()
		for held.overtaken() {
			if err := held.yield(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got <- "m"
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		// Whether it was granted its own turn at once is left to chance.
		if held.yield(cancelled) == nil {
			held.give()
		}
		synctest.Wait()
		close(got)
		var order []string
		for name := range got {
			order = append(order, name)
		}
		if want := []string{"a", "b", "m", "n", "z"}; !slices.Equal(order, want) {
			t.Errorf("got it in order %q, want %q", order, want)
		}
		if len(l.held) != 0 {
			t.Error("still held")
		}
	})
}

func TestTurn(t *testing.T) {
	var l lanes
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	a := turn{lanes: &l, order: Order{Name: "a"}}
	b := turn{lanes: &l, order: Order{Name: "b"}}
	for range 2 {
		if err := a.take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.take(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("take: %v", err)
	}
	b.give()
	a.give()
	a.give()
	if err := b.take(t.Context()); err != nil {
		t.Errorf("take: %v", err)
	}
}
