// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

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
				through := func(uid string, stores []string, to v1alpha1.Recipient) Task {
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
