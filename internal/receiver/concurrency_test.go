// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// TestConcurrencyLimit: a receiver has one slot at most, and all together have the limit.
func TestConcurrencyLimit(t *testing.T) {
	limit := newConcurrencyLimit(2)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	acquire := func(ctx context.Context, name string) (release func(), err error) {
		return limit.acquire(ctx, types.NamespacedName{Name: name})
	}
	releaseBusy, err := acquire(t.Context(), "busy")
	must(t, err)
	// The next of the same receiver waits, and leaves the other slot to others.
	next := make(chan func())
	go func() {
		release, err := acquire(t.Context(), "busy")
		if err != nil {
			t.Error(err)
		}
		next <- release
	}()
	releaseOther, err := acquire(t.Context(), "other")
	must(t, err)
	select {
	case <-next:
		t.Error("a receiver has two slots")
	default:
	}
	releaseBusy()
	release := <-next
	if _, err := acquire(ended, "third"); !errors.Is(err, context.Canceled) {
		t.Errorf("a request that has ended: %v", err)
	}
	release()
	releaseOther()
	if !limit.slots.TryAcquire(2) || len(limit.receivers.locks) != 0 {
		t.Errorf("slots are in use, or %d mutexes are kept", len(limit.receivers.locks))
	}
}

// TestLargeBodiesWait: a body that takes much memory waits for the one before it, a small one does not.
func TestLargeBodiesWait(t *testing.T) {
	const largeBody = 5000
	key := types.NamespacedName{Name: "large bodies"}
	big, small := []byte("["+strings.Repeat("{},", largeBody)+"{}]"), []byte(`["`+strings.Repeat("{}; ", 1000)+`"]`)
	release, err := acquireBody(t.Context(), key, big)
	must(t, err)
	releaseSmall, err := acquireBody(t.Context(), key, small)
	must(t, err)
	releaseSmall()
	waiting, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, err := acquireBody(waiting, key, big)
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("a second large body: %v", err)
	}
	release()
	if release, err = acquireBody(t.Context(), key, big); err != nil {
		t.Fatal(err)
	}
	release()
}
