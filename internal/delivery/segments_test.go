// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

var threeSegments = Payload{Data: []byte("one"), Rest: [][]byte{[]byte("two"), []byte("three")}}

// recordedOnly returns a text that is recorded, and not at hand.
func recordedOnly(p Payload) Payload {
	digests := []TextDigest{sha256.Sum256(p.Data)}
	for _, segment := range p.Rest {
		digests = append(digests, sha256.Sum256(segment))
	}
	return Payload{Digests: digests}
}

// split returns a message of three segments, of which the store has the first ones.
func (h *harness) split(stored int) Task {
	h.t.Helper()
	spec := h.task("m", toAlice)
	spec.Payload, spec.Split = threeSegments, true
	for n := range stored {
		m, ok := spec.message(recipientState{Progress: Progress{Recipient: toAlice, Earlier: make([]uint32, n)}}, time.Now())
		if !ok {
			h.t.Fatal("no key")
		}
		h.talk.keep(uint32(201+n), m, time.Now())
	}
	return spec
}

// wantTexts checks the sent texts, in order.
func (h *harness) wantTexts(want ...string) {
	h.t.Helper()
	if got := h.texts(); !slices.Equal(got, want) {
		h.t.Errorf("sent %q, want %q", got, want)
	}
}

// TestSegments sends the segments of a text in order, each once, whatever happens to one.
func TestSegments(t *testing.T) {
	type scenario struct {
		replies    []reply
		to         v1alpha1.Recipient
		wantReason string
		wantSent   []string
	}
	once, twoTwice := []string{"one", "two", "three"}, []string{"one", "two", "two", "three"}
	runEach(t, map[string]scenario{
		"plain":                    {wantSent: once},
		"to a group":               {to: toGroup, wantSent: once},
		"one is rejected":          {replies: []reply{plain, rejected}, wantSent: twoTwice},
		"one is not stored":        {replies: []reply{plain, falseSuccess}, wantSent: twoTwice},
		"one is not answered":      {replies: []reply{plain, lostAfter}, wantReason: v1alpha1.ReasonAdopted, wantSent: once},
		"the last is not answered": {replies: []reply{plain, plain, lostAfter}, wantReason: v1alpha1.ReasonAdopted, wantSent: once},
	}, func(h *harness, tc scenario) {
		h.talk.replies = tc.replies
		spec := h.split(0)
		if tc.to == toGroup {
			spec.Recipients[0].Recipient = toGroup
		}
		p := h.deliver(spec, time.Minute, result{v1alpha1.StateRouted, tc.wantReason, counts{len(tc.wantSent), 3, 3}})
		h.wantTexts(tc.wantSent...)
		if len(p.Earlier) != 2 || p.MessageID == 0 {
			h.t.Errorf("ids %v, %d", p.Earlier, p.MessageID)
		}
	})
}

// TestSegmentsFail: a segment that cannot be sent ends the message; those before it stay.
func TestSegmentsFail(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = append([]reply{plain}, always(rejected)...)
		spec := h.split(0)
		spec.Policy.RetryLimit = 2
		p := h.deliver(spec, time.Minute, result{v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted, counts{4, 1, 1}})
		if !slices.Equal(p.Earlier, []uint32{101}) || strings.Contains(p.Message, "nothing stored") {
			t.Errorf("ids %v, %s", p.Earlier, p.Message)
		}
	})
}

// TestSegmentsNotAnnounced: segments that no router took are stored anyway, and the message says so. They wait for a
// router once.
func TestSegmentsNotAnnounced(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.noRouter = true
		h.submit(h.split(0))
		advance(RouteTimeout - time.Second)
		h.wantCounts(1, 1, 0)
		h.wantEnd("m", 2*time.Second, result{v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted, counts{3, 3, 0}})
	})
}

// TestSegmentsTakenOver: a lost operator may have sent more segments than its status says. Each is searched for.
func TestSegmentsTakenOver(t *testing.T) {
	type scenario struct {
		status   Progress
		sent     int
		wantSent []string
	}
	runEach(t, map[string]scenario{
		"nothing recorded":       {Progress{State: v1alpha1.StatePending}, 2, []string{"three"}},
		"one recorded":           {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 2, []string{"three"}},
		"one stored recorded":    {Progress{State: v1alpha1.StateStored, MessageID: 201}, 2, []string{"three"}},
		"all were sent":          {Progress{State: v1alpha1.StateInDoubt, Attempts: 1}, 3, nil},
		"nothing was":            {Progress{State: v1alpha1.StatePending}, 0, []string{"one", "two", "three"}},
		"all were, all recorded": {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201, 202, 203}}, 3, nil},
	}, func(h *harness, tc scenario) {
		spec := h.split(tc.sent)
		recordedAs(tc.status)(&spec)
		takenOver(&spec)
		h.submit(spec)
		if p := h.await("m", 5*time.Minute).Recipients[0]; p.State != v1alpha1.StateRouted {
			h.t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
		h.wantTexts(tc.wantSent...)
	})
}

// TestSegmentsPending: sent segments of a text that is not known now are found. The others wait for the text.
func TestSegmentsPending(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.split(0)
		h.store(spec)
		takenOver(&spec)
		spec.Payload, spec.PayloadPending = Payload{}, true
		h.submit(spec)
		advance(5 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StatePending, "")
		spec.Payload, spec.PayloadPending = threeSegments, false
		h.deliver(spec, time.Minute, result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{2, 3, 3}})
		h.wantTexts("two", "three")
	})
}

// TestSegmentsOfAnotherText: the text has changed after its first segments were sent. Its recorded segments are found,
// and nothing of the new text is sent.
func TestSegmentsOfAnotherText(t *testing.T) {
	changed := v1alpha1.Cause{Reason: v1alpha1.ReasonContentChanged, Message: "changed"}
	type scenario struct {
		status       Progress
		sent         int
		wantState    v1alpha1.RecipientState
		wantSegments int
	}
	runEach(t, map[string]scenario{
		"the first was sent":              {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 1, v1alpha1.StateFailed, 1},
		"two were, one recorded":          {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 2, v1alpha1.StateFailed, 2},
		"all were, one recorded":          {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 3, v1alpha1.StateRouted, 3},
		"the last is stored, unannounced": {Progress{State: v1alpha1.StateStored, Earlier: []uint32{201, 202}, MessageID: 203}, 3, v1alpha1.StateRouted, 3},
	}, func(h *harness, tc scenario) {
		spec := h.split(tc.sent)
		recordedAs(tc.status)(&spec)
		takenOver(&spec)
		spec.Payload = recordedOnly(threeSegments)
		spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: changed}
		h.submit(spec)
		p := h.await("m", 5*time.Minute).Recipients[0]
		if got := len(p.Earlier) + min(1, int(p.MessageID)); p.State != tc.wantState || got != tc.wantSegments {
			h.t.Errorf("%s %s with %d segments, want %s with %d", p.State, p.Reason, got, tc.wantState, tc.wantSegments)
		}
		if p.State == v1alpha1.StateFailed && p.Reason != changed.Reason {
			h.t.Errorf("failed with %s", p.Reason)
		}
		h.wantCounts(0, tc.sent, tc.wantSegments-len(tc.status.Earlier))
	})
}

// TestSegmentsAfterAWhole: a text that was sent in one piece is complete. The text may be longer now, and be recorded
// with several segments.
func TestSegmentsAfterAWhole(t *testing.T) {
	type scenario struct {
		status     Progress
		wantReason string
	}
	runEach(t, map[string]scenario{
		"not recorded":      {Progress{State: v1alpha1.StatePending}, v1alpha1.ReasonAdopted},
		"stored, recorded":  {Progress{State: v1alpha1.StateStored, MessageID: 201}, ""},
		"in doubt recorded": {Progress{State: v1alpha1.StateInDoubt, Attempts: 1}, v1alpha1.ReasonAdopted},
	}, func(h *harness, tc scenario) {
		spec := h.split(0)
		whole := spec
		whole.Payload = Payload{Data: []byte("hello m")}
		m, _ := whole.message(recipientState{Progress: spec.Recipients[0]}, time.Now())
		h.talk.keep(201, m, time.Now())
		recordedAs(tc.status)(&spec)
		spec.Recipients = append(spec.Recipients, Progress{Recipient: toGroup})
		takenOver(&spec)
		spec.Payload.Digests = recordedOnly(threeSegments).Digests
		h.submit(spec)
		done := h.await("m", 5*time.Minute).Recipients
		wantProgress(h.t, done[0], v1alpha1.StateRouted, tc.wantReason)
		if len(done[0].Earlier) != 0 || done[0].MessageID != 201 {
			h.t.Errorf("ids %v, %d", done[0].Earlier, done[0].MessageID)
		}
		wantProgress(h.t, done[1], v1alpha1.StateRouted, "")
		h.wantTexts("one", "two", "three") // to the group alone
	})
}

// TestSegmentsPendingAtTheirEnd: how many segments there were is known where the text is not.
func TestSegmentsPendingAtTheirEnd(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.split(3)
		takenOver(&spec)
		spec.Payload, spec.PayloadPending = recordedOnly(threeSegments), true
		h.deliver(spec, 5*time.Minute, result{v1alpha1.StateRouted, v1alpha1.ReasonAdopted, counts{0, 3, 3}})
	})
}

// TestSegmentsResumed: the reason of earlier segments outlasts the operator that sent them.
func TestSegmentsResumed(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.split(0)
		recordedAs(Progress{
			State: v1alpha1.StatePending, Earlier: []uint32{201},
			EarlierReason: v1alpha1.ReasonStoredNotRouted, EarlierMessage: msgNotRouted,
		})(&spec)
		p := h.deliver(spec, time.Minute, result{v1alpha1.StateRouted, v1alpha1.ReasonStoredNotRouted, counts{2, 2, 2}})
		if p.Message != msgNotRouted {
			t.Errorf("its message is %q", p.Message)
		}
	})
}
