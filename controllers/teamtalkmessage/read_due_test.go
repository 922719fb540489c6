// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// TestDueReads: set replaces a time, and setAtLatest only brings it forward.
func TestDueReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var woken []string
		d := dueReads{wake: func(key types.NamespacedName) { woken = append(woken, key.Name) }}
		ctx, stop := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer stop()
		go func() { _ = d.Start(ctx) }()
		d.set(types.NamespacedName{Name: "decided"}, time.Minute)
		d.set(types.NamespacedName{Name: "decided"}, 0)
		d.set(types.NamespacedName{Name: "second"}, time.Minute)
		d.set(types.NamespacedName{Name: "second"}, 2*time.Hour)
		d.setAtLatest(types.NamespacedName{Name: "first"}, 90*time.Minute)
		d.setAtLatest(types.NamespacedName{Name: "first"}, time.Hour)
		d.setAtLatest(types.NamespacedName{Name: "second"}, 3*time.Hour)
		for _, want := range [][]string{nil, {"first"}, {"first", "second"}, {"first", "second"}} {
			synctest.Wait()
			d.mu.Lock() // wake is called with it
			if !slices.Equal(woken, want) {
				t.Errorf("woken are %q, want %q", woken, want)
			}
			d.mu.Unlock()
			time.Sleep(time.Hour + dueInterval) // of the bubble
		}
		synctest.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.at) != 0 {
			t.Errorf("%v are kept", d.at)
		}
	})
}
