// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// found is the result where an earlier operator had stored the message.
var found = result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{0, 1, 1}}

// store puts the message to the first recipient into the store, as an earlier operator would have.
func (h *harness) store(spec Task) {
	m, ok := spec.message(recipientState{Progress: spec.Recipients[0]}, time.Now())
	if !ok {
		h.t.Fatal("no key")
	}
	h.talk.keep(7, m, time.Now())
}

// TestRefused: what may not be sent any more is searched for, and fails only when the store shows that it was not sent.
func TestRefused(t *testing.T) {
	runEach(t, map[string]bool{"sent before": true, "not sent": false}, func(h *harness, sentBefore bool) {
		spec, want := h.task("m", toAlice), failed(v1alpha1.ReasonContentEmpty, 0)
		if sentBefore {
			h.store(spec)
			want = found
		}
		takenOver(&spec)
		spec.Payload = Payload{}
		spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonContentEmpty, Message: "empty"}}
		h.deliver(spec, 2*time.Minute, want)
	})
}

// TestPayloadPending: without a payload, sent messages are found and announced. Others wait for the payload.
func TestPayloadPending(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice, user(bob))
		full := spec.Payload
		h.store(spec)
		takenOver(&spec)
		spec.Payload, spec.PayloadPending = Payload{}, true
		h.submit(spec)
		advance(5 * time.Minute)
		s := h.snapshot("m")
		wantProgress(t, s.Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		wantProgress(t, s.Recipients[1], v1alpha1.StatePending, "")
		if !s.PayloadPending || !s.Running {
			t.Errorf("pending %v, running %v", s.PayloadPending, s.Running)
		}
		h.wantCounts(0, 1, 1)
		spec.Payload, spec.PayloadPending = full, false
		h.submit(spec)
		wantProgress(t, h.await("m", time.Minute).Recipients[1], v1alpha1.StateRouted, "")
		h.wantCounts(1, 2, 2)
	})
}

// TestNothingToSend: an empty payload is never sent.
func TestNothingToSend(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Payload = Payload{}
		h.deliver(spec, time.Minute, failed(v1alpha1.ReasonContentEmpty, 0))
	})
}

// TestHiddenHistory: a group that hides its newest rows, as from one who joined after their time, proves nothing by
// showing none.
func TestHiddenHistory(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.joined = uint32(time.Now().Add(time.Minute).Unix())
		h.submit(h.task("m", toGroup))
		advance(6 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		h.talk.change(func() { h.talk.joined = 0 })
		h.wantEnd("m", 20*time.Minute, routed(1))
	})
}

// TestPayloadPendingOfAudio: without its sound, a voice message is neither found nor proved absent; with it, it is found.
func TestPayloadPendingOfAudio(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		voice(&spec)
		spec.Token = true // audio has none anyway
		h.store(spec)
		full := spec.Payload
		takenOver(&spec)
		spec.Payload.Data, spec.PayloadPending = nil, true
		h.submit(spec)
		advance(5 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		spec.Payload, spec.PayloadPending = full, false
		h.deliver(spec, 5*time.Minute, found)
	})
}

// TestReleasedRefusal: a recipient that was refused while the payload was missing stays refused when it comes.
func TestReleasedRefusal(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		full := spec.Payload
		takenOver(&spec)
		spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonRecipientNotPermitted, Message: "no"}}
		spec.Payload, spec.PayloadPending = Payload{}, true
		h.submit(spec)
		spec.Payload, spec.PayloadPending, spec.Refusals = full, false, nil
		h.deliver(spec, 2*time.Minute, failed(v1alpha1.ReasonRecipientNotPermitted, 0))
	})
}

// TestLateRenewal: what lacks a payload does not resume a task that has ended.
func TestLateRenewal(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.down = true
		spec := h.task("m", toAlice)
		h.submit(spec)
		h.Stop("m")
		h.await("m", time.Minute)
		renewal := spec
		renewal.Payload, renewal.Renewal = Payload{}, true
		if _, ok := h.Submit(renewal); ok {
			t.Error("it was taken on")
		}
		h.talk.change(func() { h.talk.down = false })
		h.deliver(spec, time.Minute, routed(1))
	})
}
