// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

var _ source.Source = (*Trigger)(nil)

func newQueue(t *testing.T) priorityqueue.PriorityQueue[reconcile.Request] {
	t.Helper()
	q := priorityqueue.New[reconcile.Request]("test")
	t.Cleanup(q.ShutDown)
	return q
}

func namedKey(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "chat", Name: name}
}

// TestTrigger: requests are enqueued in order, also those from before the start.
func TestTrigger(t *testing.T) {
	cases := map[string]struct {
		mapped      map[string][]string
		early, late []string
		want        []string
	}{
		"nothing":          {},
		"before the start": {early: []string{"a", "b"}, want: []string{"a", "b"}},
		"after the start":  {late: []string{"a", "b"}, want: []string{"a", "b"}},
		"both":             {early: []string{"a"}, late: []string{"b"}, want: []string{"a", "b"}},
		"coalesced":        {early: []string{"a", "a"}, late: []string{"a", "b", "b"}, want: []string{"a", "b"}},
		"mapped": {
			mapped: map[string][]string{"s": {"a", "b"}, "t": {"c"}},
			early:  []string{"s"}, late: []string{"t", "u"}, want: []string{"a", "b", "c"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var s Trigger
			if tc.mapped != nil {
				s.Map = func(key types.NamespacedName) (keys []types.NamespacedName) {
					for _, n := range tc.mapped[key.Name] {
						keys = append(keys, namedKey(n))
					}
					return keys
				}
			}
			q := newQueue(t)
			for _, n := range tc.early {
				s.Wake(namedKey(n))
			}
			if q.Len() != 0 {
				t.Error("enqueued before the start")
			}
			if err := s.Start(t.Context(), q); err != nil {
				t.Fatal(err)
			}
			for _, n := range tc.late {
				s.Wake(namedKey(n))
			}
			var got []string
			for q.Len() > 0 {
				r, _ := q.Get()
				got = append(got, r.Name)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("enqueued %q, want %q", got, tc.want)
			}
		})
	}
}

// TestWakeWith: a request is enqueued when its time has come, or an earlier one is there.
func TestWakeWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Trigger
		q := newQueue(t)
		if err := s.Start(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		lengthAfter := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			return q.Len()
		}
		for _, w := range []struct {
			name  string
			after time.Duration
		}{{"a", time.Hour}, {"b", 2 * time.Hour}, {"b", 30 * time.Minute}, {"c", -time.Hour}} {
			s.WakeWith(priorityqueue.AddOpts{After: w.after}, namedKey(w.name))
		}
		for i, want := range []int{1, 2, 3} {
			if got := lengthAfter(25 * time.Minute); got != want {
				t.Errorf("%d enqueued after %d minutes, want %d", got, 25*(i+1), want)
			}
		}
	})
}

// TestNoneLost wakes while the source starts.
func TestNoneLost(t *testing.T) {
	var s Trigger
	q := newQueue(t)
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() { s.Wake(namedKey(string(rune('a' + i)))) })
	}
	if err := s.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if q.Len() != 100 {
		t.Errorf("%d of 100 enqueued", q.Len())
	}
}
