// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// supersede makes the engine end the rest of a task, as a controller does after an edit.
func (h *harness) supersede(spec Task) Snapshot {
	h.t.Helper()
	spec.Policy.SupersededAt, spec.Policy.Deadline = time.Now(), time.Now().Add(2*time.Minute)
	spec.Renewal, spec.PayloadPending = true, true
	spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{}
	for _, p := range spec.Recipients {
		spec.Refusals[p.Recipient] = v1alpha1.Cause{Reason: v1alpha1.ReasonSuperseded, Message: "edited"}
	}
	h.submit(spec)
	return h.await(spec.UID, 4*time.Minute)
}

// TestSuperseded: an edit ends what was not sent at once, and settles what may have been sent.
func TestSuperseded(t *testing.T) {
	superseded := failed(v1alpha1.ReasonSuperseded, 0)
	type scenario struct {
		talk func(*talk)
		// after is when the edit comes.
		after time.Duration
		want  result
	}
	runEach(t, map[string]scenario{
		"not connected":          {disconnected, time.Minute, superseded},
		"backing off":            {replying(always(rejected)...), 10 * time.Second, failed(v1alpha1.ReasonSuperseded, 4)},
		"in flight, then stored": {replying(slow(5 * time.Second)), time.Second, routed(1)},
		"not answered, stored":   {replying(lostAfter), 100 * time.Millisecond, adopted},
		"not answered, absent":   {replying(lostBefore), 11 * time.Second, failed(v1alpha1.ReasonSuperseded, 1)},
		"not answered, unreadable": {
			all(replying(lostBefore), unreadable("list")), 11 * time.Second,
			result{v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, counts{1, 0, 0}},
		},
		"stored, without a router": {noRouter, 10 * time.Second, result{v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted, counts{1, 1, 0}}},
	}, func(h *harness, tc scenario) {
		tc.talk(h.talk)
		spec := h.task("m", toAlice)
		h.submit(spec)
		advance(tc.after)
		p := h.supersede(spec).Recipients[0]
		wantProgress(h.t, p, tc.want.state, tc.want.reason)
		if got := h.talk.counts(); got.rows != tc.want.rows {
			h.t.Errorf("%+v, want %+v", got, tc.want.counts)
		}
	})
}

// TestRevisionOfAnotherText: a row under the token of a later revision is this one's only with its text. A backup may
// have brought back a status from before the revision with that number.
func TestRevisionOfAnotherText(t *testing.T) {
	runEach(t, map[string]struct {
		revision uint32
		want     result
	}{
		"of the first revision": {0, found},
		"of the second one":     {1, result{v1alpha1.StateFailed, v1alpha1.ReasonKeyReused, counts{0, 1, 0}}},
	}, func(h *harness, tc struct {
		revision uint32
		want     result
	}) {
		spec := h.task("m", toAlice)
		spec.Identity.Revision = tc.revision
		h.store(spec)
		spec.Payload.Data = []byte("another text")
		takenOver(&spec)
		h.deliver(spec, 2*time.Minute, tc.want)
	})
}

// TestSupersededSegments: of a text that is recorded, what the store holds decides whether all of it was sent.
func TestSupersededSegments(t *testing.T) {
	runEach(t, map[string]struct {
		stored int
		want   result
	}{
		"all":  {3, result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{0, 3, 3}}},
		"some": {2, result{v1alpha1.StateFailed, v1alpha1.ReasonSuperseded, counts{0, 2, 2}}},
	}, func(h *harness, tc struct {
		stored int
		want   result
	}) {
		spec := h.split(tc.stored)
		takenOver(&spec)
		spec.Payload, spec.Split, spec.PayloadPending = recordedOnly(spec.Payload), false, true
		spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonSuperseded}}
		h.submit(spec)
		h.wantEnd("m", 4*time.Minute, tc.want)
	})
}
