// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// TestTurns: one receiver has one turn at a time, and all have so many.
func TestTurns(t *testing.T) {
	at := newTurns(2)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	enter := func(ctx context.Context, name string) (leave func(), err error) {
		return at.enter(ctx, types.NamespacedName{Name: name})
	}
	leaveBusy, err := enter(t.Context(), "busy")
	if err != nil {
		t.Fatal(err)
	}
	// The next of the same receiver waits, and leaves the other turn to others.
	next := make(chan func())
	go func() {
		leave, err := enter(t.Context(), "busy")
		if err != nil {
			t.Error(err)
		}
		next <- leave
	}()
	leaveOther, err := enter(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-next:
		t.Error("a receiver has two turns")
	default:
	}
	leaveBusy()
	leave := <-next
	if _, err := enter(over, "third"); !errors.Is(err, context.Canceled) {
		t.Errorf("who does not wait any more: %v", err)
	}
	leave()
	leaveOther()
	if len(at.free) != 0 || len(at.receivers.holds) != 0 {
		t.Errorf("%d turns and %d receivers are left", len(at.free), len(at.receivers.holds))
	}
}

// TestLargeBodiesWait: a body that takes much memory waits for the one before it, a
// small one does not.
func TestLargeBodiesWait(t *testing.T) {
	key := types.NamespacedName{Name: "large bodies"}
	big, small := []byte("["+strings.Repeat("{},", smallBody)+"{}]"), []byte(`["`+strings.Repeat("{},", smallBody)+`"]`)
	leave, err := admit(t.Context(), key, big)
	if err != nil {
		t.Fatal(err)
	}
	leaveSmall, err := admit(t.Context(), key, small)
	if err != nil {
		t.Fatal(err)
	}
	leaveSmall()
	waiting, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, err := admit(waiting, key, big)
		got <- err
	}()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("a second large body: %v", err)
	}
	leave()
	if leave, err = admit(t.Context(), key, big); err != nil {
		t.Fatal(err)
	}
	leave()
}
