// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestGroupChanges: a message to a group waits for a change of its members, and not for long.
func TestGroupChanges(t *testing.T) {
	const other = group + 1
	server := types.NamespacedName{}
	tests := map[string]struct {
		to     v1alpha1.Recipient
		change func(*harness)
		// took is how long the message waits.
		took time.Duration
	}{
		"no change": {to: toGroup, change: func(*harness) {}},
		"it ends": {to: toGroup, took: 7 * time.Second, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			time.AfterFunc(7*time.Second, func() { h.Groups.End("g") })
		}},
		"it does not end": {to: toGroup, took: GroupHold, change: func(h *harness) { h.Groups.Begin("g", server, group) }},
		"begun again": {to: toGroup, took: GroupHold, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			time.AfterFunc(20*time.Second, func() { h.Groups.Begin("g", server, group) })
		}},
		"begun in an outage": {to: toGroup, took: 47 * time.Second, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			h.talk.change(func() { h.talk.down = true })
			time.AfterFunc(40*time.Second, func() { h.talk.change(func() { h.talk.down = false }) })
			time.AfterFunc(47*time.Second, func() { h.Groups.End("g") })
		}},
		"an outage since": {to: toGroup, took: 52 * time.Second, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			time.AfterFunc(time.Second, func() { h.talk.change(func() { h.talk.down = true }) })
			time.AfterFunc(45*time.Second, func() { h.talk.change(func() { h.talk.down = false }) })
			time.AfterFunc(52*time.Second, func() { h.Groups.End("g") })
		}},
		"made while it waits": {to: toGroup, took: GroupHold, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			time.AfterFunc(20*time.Second, func() { h.Groups.Restart("g") })
		}},
		"of two, the last": {to: toGroup, took: 9 * time.Second, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			h.Groups.Begin("h", server, group)
			time.AfterFunc(3*time.Second, func() { h.Groups.End("g") })
			time.AfterFunc(9*time.Second, func() { h.Groups.End("h") })
		}},
		"another group":  {to: toGroup, change: func(h *harness) { h.Groups.Begin("g", server, other) }},
		"another server": {to: toGroup, change: func(h *harness) { h.Groups.Begin("g", types.NamespacedName{Name: "x"}, group) }},
		"a user":         {to: user(group), change: func(h *harness) { h.Groups.Begin("g", server, group) }},
		"ended before": {to: toGroup, change: func(h *harness) {
			h.Groups.Begin("g", server, group)
			h.Groups.End("g")
			h.Groups.End("g")
		}},
	}
	runEach(t, tests, func(h *harness, tc struct {
		to     v1alpha1.Recipient
		change func(*harness)
		took   time.Duration
	}) {
		h.talk.users[group] = true
		tc.change(h)
		began := time.Now()
		h.deliver(h.task("m", tc.to), time.Minute, routed(1))
		h.wantTook(began, tc.took, tc.took)
		h.Groups.End("g")
		h.Groups.End("h")
		if len(h.Groups.changes)+len(h.Groups.groups) > 1 {
			h.t.Errorf("%d changes, %d groups are left", len(h.Groups.changes), len(h.Groups.groups))
		}
	})
}

// TestGroupChangesRestart: messages wait for a change that is made when the first of them has waited for too long.
func TestGroupChangesRestart(t *testing.T) {
	run(t, func(h *harness) {
		h.Groups.Begin("g", types.NamespacedName{}, group)
		h.submit(h.task("a", toGroup))
		advance(GroupHold + time.Second)
		h.wantCounts(1, 1, 1)
		h.submit(h.task("b", toGroup))
		advance(time.Second)
		h.wantCounts(2, 2, 2)
		h.Groups.Restart("g")
		h.Groups.Restart("another")
		h.submit(h.task("c", toGroup))
		advance(GroupHold - time.Second)
		h.wantCounts(2, 2, 2)
		h.Groups.End("g")
		advance(time.Second)
		h.wantCounts(3, 3, 3)
	})
}

// TestGroupChangesKeepOrder: messages that wait for a change are sent in their order.
func TestGroupChangesKeepOrder(t *testing.T) {
	run(t, func(h *harness) {
		h.Groups.Begin("g", types.NamespacedName{}, group)
		for _, uid := range []string{"a", "b", "c"} {
			h.submit(h.task(uid, toGroup))
		}
		advance(time.Second)
		h.wantCounts(0, 0, 0)
		h.Groups.End("g")
		h.await("c", time.Minute)
		if texts := h.texts(); len(texts) != 3 || texts[0] != "hello a" || texts[1] != "hello b" || texts[2] != "hello c" {
			h.t.Errorf("sent %q", texts)
		}
	})
}
