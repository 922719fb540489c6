// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// renewed is a task whose controller has found one more recipient.
func renewed(spec Task, to v1alpha1.Recipient) Task {
	late := Progress{Recipient: to, ByName: "bob", State: v1alpha1.StatePending}
	spec.Recipients, spec.Renewal, spec.Payload = append(spec.Recipients[:1:1], late), true, Payload{}
	return spec
}

// TestLateRecipient: a recipient that is found while the others are under way does not wait for them, and gets the
// message once.
func TestLateRecipient(t *testing.T) {
	const slowly = 8 * time.Second
	type scenario struct {
		edit func(*Task)
		// before happens after the first recipient is submitted, and after it the late one is.
		before func(*harness)
		// soon is what becomes of the late one while the first is under way.
		soon   v1alpha1.RecipientState
		reason string
		want   counts
	}
	nothing := func(*harness) {}
	runEach(t, map[string]scenario{
		"found":             {before: nothing, soon: v1alpha1.StateRouted, want: counts{2, 2, 2}},
		"the first is done": {before: func(*harness) { advance(2 * slowly) }, soon: v1alpha1.StateRouted, want: counts{2, 2, 2}},
		"refused": {
			edit: func(spec *Task) {
				spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toBob: {Reason: v1alpha1.ReasonSenderNotPermitted}}
			},
			before: nothing, soon: v1alpha1.StateFailed, reason: v1alpha1.ReasonSenderNotPermitted, want: counts{1, 1, 1},
		},
		"sent under its key by another": {
			edit: func(spec *Task) { spec.Identity = Identity{Namespace: "chat", Key: "k"} },
			before: func(h *harness) {
				spec := h.task("m", toBob)
				spec.Identity = Identity{Namespace: "chat", Key: "k"}
				h.store(spec)
			},
			soon: v1alpha1.StateRouted, reason: v1alpha1.ReasonAdopted, want: counts{1, 2, 2},
		},
		"the deadline is over": {
			edit:   func(spec *Task) { spec.Policy.Deadline = time.Now().Add(2 * time.Second) },
			before: func(*harness) { advance(3 * time.Second) },
			soon:   v1alpha1.StateFailed, reason: v1alpha1.ReasonDeadlineExceeded, want: counts{1, 1, 1},
		},
	}, func(h *harness, tc scenario) {
		h.talk.replies = []reply{slow(slowly)}
		spec := h.task("m", toAlice)
		if tc.edit != nil {
			tc.edit(&spec)
		}
		h.submit(spec)
		advance(time.Second)
		tc.before(h)
		ended := !h.snapshot("m").Running
		for range 3 { // reconciles
			h.submit(renewed(spec, toBob))
		}
		advance(2 * time.Second)
		s := h.snapshot("m")
		if len(s.Recipients) != 2 || s.Running == ended {
			h.t.Fatalf("%+v", s)
		}
		wantProgress(h.t, s.Recipients[1], tc.soon, tc.reason)
		if s.Recipients[1].ByName != "bob" {
			h.t.Errorf("%+v", s.Recipients[1])
		}
		h.await("m", time.Minute)
		h.wantCounts(tc.want.sends, tc.want.rows, tc.want.routed)
	})
}

// TestLateRecipientStopped: nothing is sent to it after a drain has begun, nor while the task is stopped.
func TestLateRecipientStopped(t *testing.T) {
	runEach(t, map[string]struct {
		stop func(*harness)
		want counts
	}{
		"stopped": {func(h *harness) { h.Stop("m") }, counts{2, 2, 2}},
		"drained": {func(h *harness) {
			ended, end := context.WithCancel(h.t.Context())
			end()
			_, _ = h.Engine.Drain(ended, time.Minute)
		}, counts{1, 1, 1}},
	}, func(h *harness, tc struct {
		stop func(*harness)
		want counts
	}) {
		h.talk.replies = []reply{slow(5 * time.Second)}
		spec := h.task("m", toAlice)
		h.submit(spec)
		advance(time.Second)
		tc.stop(h)
		h.submit(renewed(spec, toBob))
		advance(time.Second)
		h.wantCounts(1, 1, 0)
		h.await("m", time.Minute)
		again := renewed(spec, toBob)
		again.Renewal, again.Payload = false, spec.Payload
		h.submit(again)
		h.await("m", time.Minute)
		h.wantCounts(tc.want.sends, tc.want.rows, tc.want.routed)
	})
}
