// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
)

// TestFreshRows: the last row is kept, one that is older than the lag, and few in between.
func TestFreshRows(t *testing.T) {
	for name, tc := range map[string]struct{ each, lag, other time.Duration }{
		"constant traffic":                {time.Second, 8 * time.Second, 0},
		"fast traffic":                    {10 * time.Millisecond, 8 * time.Second, 0},
		"slow traffic":                    {time.Minute, 8 * time.Second, 0},
		"no lag":                          {time.Second, 0, 0},
		"beside a server with longer lag": {time.Second, 0, time.Minute},
	} {
		k, began := newRows(), time.Unix(1000, 0)
		longest := max(tc.lag, tc.other)
		for n := range 2000 {
			at := began.Add(time.Duration(n) * tc.each)
			lag := tc.lag
			if n == 0 {
				lag = longest
			}
			k.noteStored(singleOf(alice), sessionWith(alice), knownRow{uint32(n), 1}, at, at, lag)
			rows := k.stored(singleOf(alice))
			last := rows[len(rows)-1]
			if last.id != uint32(n) || len(rows) > maxFresh+3 {
				t.Fatalf("%s: %d rows, the last is %d, want %d", name, len(rows), last.id, n)
			}
			if at.Sub(began) > longest && at.Sub(rows[0].storedAt) < longest {
				t.Fatalf("%s: the oldest of %v is from %v ago", name, at.Sub(began), at.Sub(rows[0].storedAt))
			}
		}
	}
}

// TestStoresAreJoinedAgain: joining and parting stores again and again adds no rows.
func TestStoresAreJoinedAgain(t *testing.T) {
	k := newKnownRows(queue.New(func(types.NamespacedName) {}))
	k.queue.StoresChanged = k.follow
	k.queue.SetServer(server("a"), []string{"a"})
	k.queue.SetServer(server("b"), []string{"b"})
	c := queue.ConversationOf(server("a"), bot, user(alice))
	k.noteStored(c, sessionWith(alice), knownRow{7, 100}, time.Unix(99, 0), time.Unix(100, 0), time.Second)
	for range 16 {
		k.queue.SetServer(server("b"), []string{"a", "b"})
		k.queue.SetServer(server("b"), []string{"b"})
	}
	if n := len(k.stored(c)); n != 1 {
		t.Errorf("%d rows", n)
	}
}
