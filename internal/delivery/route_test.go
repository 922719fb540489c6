// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestRouterReturns: a router that is back is given what waits for it at once, however long it was away. Meanwhile
// the messages of the conversation are stored, and routed in order then.
func TestRouterReturns(t *testing.T) {
	runEach(t, map[string]time.Duration{
		"at once": time.Millisecond, "seconds": 20 * time.Second, "minutes": RouteTimeout - time.Second,
	}, func(h *harness, away time.Duration) {
		h.talk.noRouter = true
		began := time.Now()
		const messages = 5
		for i := range messages {
			spec := h.task(fmt.Sprint(i), toAlice)
			spec.Order.Created = began.Add(time.Duration(i) * time.Second)
			h.submit(spec)
		}
		synctest.Wait()
		h.wantCounts(messages, messages, 0)
		if time.Since(began) != 0 {
			h.t.Errorf("stored after %s: a message waited for the router of another one", time.Since(began))
		}
		advance(away)
		for i := range messages {
			wantProgress(h.t, h.first(types.UID(fmt.Sprint(i))), v1alpha1.StateStored, v1alpha1.ReasonServerNotReady)
		}
		back := time.Now()
		h.talk.change(func() { h.talk.noRouter = false })
		advance(routeBackoff.base)
		h.wantCounts(messages, messages, messages)
		if !slices.IsSorted(h.talk.routed) {
			h.t.Errorf("routed %v, want them in order", h.talk.routed)
		}
		for i := range messages {
			p := h.first(types.UID(fmt.Sprint(i)))
			wantProgress(h.t, p, v1alpha1.StateRouted, "")
			if d := p.RoutedAt.Sub(back); d > routeBackoff.base {
				h.t.Errorf("message %d was routed after %s", i, d)
			}
		}
	})
}

// TestNoRouter: a stored message waits for a router without trying anything, for RouteTimeout.
func TestNoRouter(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.noRouter = true
		h.submit(h.task("m", toAlice))
		advance(RouteTimeout - time.Millisecond)
		wantProgress(t, h.first("m"), v1alpha1.StateStored, v1alpha1.ReasonServerNotReady)
		if n := h.talk.routesTried(); n != 1 {
			t.Errorf("routed %d times without success, want once", n)
		}
		advance(time.Millisecond)
		wantProgress(t, h.first("m"), v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted)
	})
}

// TestRouterRefuses: a router that is connected, and takes nothing, is tried at growing intervals.
func TestRouterRefuses(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.refusing = true
		h.submit(h.task("m", toAlice))
		advance(time.Second)
		if n := h.talk.routesTried(); n < 3 || n > 10 {
			t.Errorf("tried %d times in a second", n)
		}
		advance(time.Minute)
		if n := h.talk.routesTried(); n < 15 || n > 40 {
			t.Errorf("tried %d times in a minute", n)
		}
		h.talk.change(func() { h.talk.refusing = false })
		h.wantEnd("m", routeBackoff.limit, routed(1))
	})
}

// TestStoredLetsPass: a stored message that is tried again holds back no other one of its conversation.
func TestStoredLetsPass(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.refusing = true
		h.submit(h.task("m", toAlice))
		advance(time.Minute)
		began := time.Now()
		h.submit(h.task("n", toAlice))
		synctest.Wait()
		h.wantCounts(2, 2, 0)
		if time.Since(began) != 0 {
			t.Errorf("stored after %s", time.Since(began))
		}
	})
}

// TestLongRowIsNotKept: what waits for a router is read again if it is long, and kept if it is not.
func TestLongRowIsNotKept(t *testing.T) {
	runEach(t, map[string]struct{ length, reads int }{
		"short": {10, 1}, "long": {2 * maxWaitingRow, 2},
	}, func(h *harness, tc struct{ length, reads int }) {
		h.talk.noRouter = true
		spec := h.task("m", toAlice)
		spec.Payload.Data = bytes.Repeat([]byte("a"), tc.length)
		h.submit(spec)
		advance(time.Minute)
		h.Engine.mu.Lock()
		row := h.tasks["m"].recipients[0].row
		h.Engine.mu.Unlock()
		if kept := row != nil; kept != (tc.reads == 1) {
			h.t.Errorf("the row is kept: %v", kept)
		}
		h.talk.change(func() { h.talk.noRouter = false })
		h.wantEnd("m", time.Minute, routed(1))
		if h.talk.reads["byID"] != tc.reads {
			h.t.Errorf("read %d times, want %d", h.talk.reads["byID"], tc.reads)
		}
	})
}
