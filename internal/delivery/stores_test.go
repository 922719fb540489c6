package delivery

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestStores joins addresses, whoever names them together and in whatever order, and
// those that one server names one after the other.
func TestStores(t *testing.T) {
	var s stores
	renamed := 0
	join := func(server string, addresses ...string) {
		s.join(name(server), addresses, func(string, string) { renamed++ })
	}
	join("1", "a", "b")
	join("2", "c", "d")
	join("3", "a", "b")
	join("4", "e")
	join("5")
	if s.of("a") != s.of("b") || s.of("c") != s.of("d") || s.of("a") == s.of("c") || s.of("e") == s.of("a") || renamed != 2 {
		t.Errorf("%v, renamed %d times", s.above, renamed)
	}
	join("6", "d", "x", "b")
	join("5", "y")
	join("5", "z")
	join("5", "a")
	for _, address := range []string{"a", "b", "c", "d", "x", "y", "z"} {
		if s.of(address) != s.of("a") {
			t.Errorf("%s is not of the same store: %v", address, s.above)
		}
	}
	if s.of("e") == s.of("a") {
		t.Error("one that nobody has named with them is")
	}
}

// TestSharedAddresses: servers that share an address share the store, and the order
// of its conversations, whatever other addresses they name.
func TestSharedAddresses(t *testing.T) {
	cases := map[string]struct {
		older, younger, between []string
		wantApart               bool
	}{
		"the same":              {older: []string{"a"}, younger: []string{"a"}},
		"another order":         {older: []string{"a", "b"}, younger: []string{"b", "a"}},
		"an endpoint was added": {older: []string{"a"}, younger: []string{"b", "a"}},
		"one was taken out":     {older: []string{"a", "b"}, younger: []string{"b"}},
		"they overlap":          {older: []string{"a", "b"}, younger: []string{"c", "b"}},
		"by way of a third":     {older: []string{"a"}, younger: []string{"b"}, between: []string{"a", "b"}},
		"they do not":           {older: []string{"a"}, younger: []string{"b"}, wantApart: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				// The older one is tried again a moment later.
				h.talk.replies = []reply{rejected}
				through := func(uid string, stores []string, to Recipient) Task {
					spec := h.task(uid, to)
					spec.ServerKey.Name, spec.Stores = uid, stores
					h.submit(spec)
					return spec
				}
				older := through("1", tc.older, toAlice)
				if tc.between != nil {
					through("3", tc.between, user(bob))
					h.await("3", 0)
				}
				younger := through("2", tc.younger, toAlice)
				for _, spec := range []Task{older, younger} {
					wantProgress(t, h.await(spec.UID, time.Minute).Recipients[0], v1alpha1.StateRouted, "")
				}
				sent := slices.DeleteFunc(h.texts(), func(s string) bool { return s == "hello 3" })
				want := []string{"hello 1", "hello 1", "hello 2"}
				if tc.wantApart {
					want = []string{"hello 1", "hello 2", "hello 1"}
				}
				if !slices.Equal(sent, want) {
					t.Errorf("sent %q, want %q", sent, want)
				}
			})
		})
	}
}

// TestAddressesReplaced: a server's other addresses are of the same store, too, where
// none is left of those that its messages were taken on with; whichever message is the
// first to be looked at after that.
func TestAddressesReplaced(t *testing.T) {
	for name, renewed := range map[string]bool{"the older is renewed first": true, "the younger comes first": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.replies = []reply{rejected}
				older := h.task("1", toAlice)
				older.Stores = []string{"a"}
				h.submit(older)
				older.Stores = []string{"b"}
				if renewed {
					h.submit(older)
				}
				younger := h.task("2", toAlice)
				younger.Stores = []string{"b"}
				h.submit(younger)
				if !renewed {
					h.submit(older)
				}
				h.await("1", time.Minute)
				h.await("2", time.Minute)
				if got, want := h.texts(), []string{"hello 1", "hello 1", "hello 2"}; !slices.Equal(got, want) {
					t.Errorf("sent %q, want %q", got, want)
				}
			})
		})
	}
}

// TestLanesJoined: where two stores turn out to be one while a conversation is held in
// each, the younger holder gives way, and all others wait for both.
func TestLanesJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lanes
		in := func(store, name string) *turn {
			return &turn{lanes: &l, conversation: conversation{store: store, high: 1}, order: Order{Name: name}}
		}
		older, younger := in("a", "2"), in("b", "3")
		for _, held := range []*turn{older, younger} {
			if err := held.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		got := make(chan string, 10)
		for store, name := range map[string]string{"a": "5", "b": "4"} {
			go waitFor(t.Context(), &l, conversation{store: store, high: 1}, Order{Name: name}, got)
		}
		synctest.Wait()
		if older.overtaken() || younger.overtaken() {
			t.Error("overtaken before the stores are joined")
		}
		l.join(name("server"), []string{"b", "a"})
		if older.overtaken() || !younger.overtaken() {
			t.Errorf("the older is overtaken: %v, the younger: %v", older.overtaken(), younger.overtaken())
		}
		yielded := make(chan error, 1)
		go func() { yielded <- younger.yield(t.Context()) }()
		synctest.Wait()
		if len(yielded) > 0 || len(got) > 0 {
			t.Error("somebody went on while the older one held the conversation")
		}
		older.give()
		if err := <-yielded; err != nil {
			t.Fatal(err)
		}
		younger.give()
		synctest.Wait()
		if first, second := <-got, <-got; first != "4" || second != "5" {
			t.Errorf("then %s and %s", first, second)
		}
		if held, waiting := l.count(); held != 0 || waiting != 0 {
			t.Errorf("%d held, %d waiting", held, waiting)
		}
	})
}
