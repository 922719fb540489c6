// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var threeSegments = Payload{Data: []byte("one"), Rest: [][]byte{[]byte("two"), []byte("three")}}

// TestSegments sends the segments of a text in order, each once, whatever happens to one.
func TestSegments(t *testing.T) {
	cases := map[string]struct {
		replies    []reply
		to         v1alpha1.Recipient
		wantReason string
		wantSent   []string
		wantRows   int
	}{
		"plain":             {wantSent: []string{"one", "two", "three"}, wantRows: 3},
		"to a group":        {to: toGroup, wantSent: []string{"one", "two", "three"}, wantRows: 3},
		"one is rejected":   {replies: []reply{plain, rejected}, wantSent: []string{"one", "two", "two", "three"}, wantRows: 3},
		"one is not stored": {replies: []reply{plain, falseSuccess}, wantSent: []string{"one", "two", "two", "three"}, wantRows: 3},
		"one is not answered": {
			replies: []reply{plain, lostAfter}, wantReason: v1alpha1.ReasonAdopted, wantSent: []string{"one", "two", "three"}, wantRows: 3,
		},
		"the last is not answered": {
			replies: []reply{plain, plain, lostAfter}, wantReason: v1alpha1.ReasonAdopted, wantSent: []string{"one", "two", "three"}, wantRows: 3,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				to := tc.to
				if to == (v1alpha1.Recipient{}) {
					to = toAlice
				}
				h.talk.replies = tc.replies
				spec := h.task("m", to)
				spec.Payload, spec.Split = threeSegments, true
				h.submit(spec)
				p := h.await("m", time.Minute).Recipients[0]
				wantProgress(t, p, v1alpha1.StateRouted, tc.wantReason)
				if got := h.texts(); !slices.Equal(got, tc.wantSent) {
					t.Errorf("sent %q, want %q", got, tc.wantSent)
				}
				h.wantCounts(len(tc.wantSent), tc.wantRows, 3)
				if len(p.Earlier) != 2 || p.MessageID == 0 {
					t.Errorf("ids %v, %d", p.Earlier, p.MessageID)
				}
			})
		})
	}
}

// TestSegmentsFail: a segment that cannot be sent ends the message; those before it stay.
func TestSegmentsFail(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = append([]reply{plain}, always(rejected)...)
		spec := h.task("m", toAlice)
		spec.Payload, spec.Split = threeSegments, true
		spec.Policy.RetryLimit = 2
		h.submit(spec)
		p := h.await("m", time.Minute).Recipients[0]
		wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonRetriesExhausted)
		h.wantCounts(4, 1, 1)
		if !slices.Equal(p.Earlier, []uint32{101}) {
			t.Errorf("ids %v", p.Earlier)
		}
	})
}

// TestSegmentsNotAnnounced: segments that no router took are stored anyway, and the
// message says so.
func TestSegmentsNotAnnounced(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.noRouter = true
		spec := h.task("m", toAlice)
		spec.Payload, spec.Split = threeSegments, true
		h.submit(spec)
		advance(RouteTimeout + time.Minute)
		h.talk.change(func() { h.talk.noRouter = false })
		p := h.await("m", 10*time.Minute).Recipients[0]
		wantProgress(t, p, v1alpha1.StateRouted, v1alpha1.ReasonStoredNotRouted)
		h.wantCounts(3, 3, 2)
	})
}

// TestSegmentsTakenOver: an operator that was lost may have sent further segments than its
// status says: each is asked for.
func TestSegmentsTakenOver(t *testing.T) {
	cases := map[string]struct {
		status   Progress
		sent     int
		wantSent []string
	}{
		"nothing recorded":       {Progress{State: v1alpha1.StatePending}, 2, []string{"three"}},
		"one recorded":           {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 2, []string{"three"}},
		"one stored recorded":    {Progress{State: v1alpha1.StateStored, MessageID: 201}, 2, []string{"three"}},
		"all were sent":          {Progress{State: v1alpha1.StateInDoubt, Attempts: 1}, 3, nil},
		"nothing was":            {Progress{State: v1alpha1.StatePending}, 0, []string{"one", "two", "three"}},
		"all were, all recorded": {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201, 202, 203}}, 3, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.task("m", toAlice)
				spec.Payload, spec.Split = threeSegments, true
				for n := range tc.sent {
					h.storeSegment(spec, n)
				}
				tc.status.Recipient = toAlice
				spec.Recipients = []Progress{tc.status}
				spec.EarlierUntil = time.Now().Add(PeerPatience)
				h.submit(spec)
				p := h.await("m", 5*time.Minute).Recipients[0]
				if !p.Delivered() || p.State != v1alpha1.StateRouted {
					t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
				}
				if got := h.texts(); !slices.Equal(got, tc.wantSent) {
					t.Errorf("sent %q, want %q", got, tc.wantSent)
				}
			})
		})
	}
}

// TestSegmentsHeld: what was sent of a text that is not known now is found; the rest
// waits for the text.
func TestSegmentsHeld(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Payload, spec.Split = threeSegments, true
		h.store(spec)
		spec.EarlierUntil = time.Now().Add(PeerPatience)
		spec.Payload, spec.PayloadPending = Payload{}, true
		h.submit(spec)
		advance(5 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StatePending, "")
		spec.Payload, spec.PayloadPending = threeSegments, false
		h.submit(spec)
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		if got := h.texts(); !slices.Equal(got, []string{"two", "three"}) {
			t.Errorf("sent %q", got)
		}
	})
}

// TestSegmentsOfAnotherText: where the text has changed after its first segments were sent,
// what is recorded as sent of it is found, and nothing of the new text is sent.
func TestSegmentsOfAnotherText(t *testing.T) {
	changed := v1alpha1.Cause{Reason: v1alpha1.ReasonContentChanged, Message: "changed"}
	cases := map[string]struct {
		status       Progress
		sent         int
		wantState    v1alpha1.RecipientState
		wantSegments int
	}{
		"the first was sent":              {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 1, v1alpha1.StateFailed, 1},
		"two were, one recorded":          {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 2, v1alpha1.StateFailed, 2},
		"all were, one recorded":          {Progress{State: v1alpha1.StatePending, Earlier: []uint32{201}}, 3, v1alpha1.StateRouted, 3},
		"the last is stored, unannounced": {Progress{State: v1alpha1.StateStored, Earlier: []uint32{201, 202}, MessageID: 203}, 3, v1alpha1.StateRouted, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.task("m", toAlice)
				spec.Payload, spec.Split = threeSegments, true
				for n := range tc.sent {
					h.storeSegment(spec, n)
				}
				tc.status.Recipient = toAlice
				spec.Recipients = []Progress{tc.status}
				spec.EarlierUntil = time.Now().Add(PeerPatience)
				// Five segments, and none of them is one of the three.
				spec.Payload = Payload{Data: []byte("other"), Rest: [][]byte{{1}, {2}, {3}, {4}}, Count: 3}
				spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: changed}
				h.submit(spec)
				p := h.await("m", 5*time.Minute).Recipients[0]
				if got := len(p.Earlier) + min(1, int(p.MessageID)); p.State != tc.wantState || got != tc.wantSegments {
					t.Errorf("%s %s with %d segments, want %s with %d", p.State, p.Reason, got, tc.wantState, tc.wantSegments)
				}
				if p.State == v1alpha1.StateFailed && p.Reason != changed.Reason {
					t.Errorf("failed with %s", p.Reason)
				}
				h.wantCounts(0, tc.sent, tc.wantSegments-len(tc.status.Earlier))
			})
		})
	}
}

// TestSegmentsAfterAWhole: what was sent as all of a text is all of it, though the text has
// become longer since, and is recorded as one of several segments now.
func TestSegmentsAfterAWhole(t *testing.T) {
	cases := map[string]struct {
		status     Progress
		wantReason string
	}{
		"not recorded":      {Progress{State: v1alpha1.StatePending}, v1alpha1.ReasonAdopted},
		"stored, recorded":  {Progress{State: v1alpha1.StateStored, MessageID: 201}, ""},
		"in doubt recorded": {Progress{State: v1alpha1.StateInDoubt, Attempts: 1}, v1alpha1.ReasonAdopted},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.task("m", toAlice)
				spec.Split = true
				h.storeSegment(spec, 0)
				tc.status.Recipient = toAlice
				spec.Recipients = []Progress{tc.status, {Recipient: toGroup}}
				spec.EarlierUntil = time.Now().Add(PeerPatience)
				spec.Payload = threeSegments
				spec.Payload.Count, spec.Payload.Recorded = 3, true
				h.submit(spec)
				done := h.await("m", 5*time.Minute).Recipients
				wantProgress(t, done[0], v1alpha1.StateRouted, tc.wantReason)
				if len(done[0].Earlier) != 0 || done[0].MessageID != 201 {
					t.Errorf("ids %v, %d", done[0].Earlier, done[0].MessageID)
				}
				wantProgress(t, done[1], v1alpha1.StateRouted, "")
				if got := h.texts(); !slices.Equal(got, []string{"one", "two", "three"}) {
					t.Errorf("sent %q, want all of the text, to the group alone", got)
				}
			})
		})
	}
}

// TestSegmentsHeldAtTheirEnd: how many segments there were is known where the text is not.
func TestSegmentsHeldAtTheirEnd(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Payload, spec.Split = threeSegments, true
		for n := range 3 {
			h.storeSegment(spec, n)
		}
		spec.EarlierUntil = time.Now().Add(PeerPatience)
		spec.Payload, spec.PayloadPending = Payload{Count: 3}, true
		h.submit(spec)
		wantProgress(t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		h.wantCounts(0, 3, 3)
	})
}

// TestSegmentsResumed: what is to be said of earlier segments outlasts the operator that
// sent them.
func TestSegmentsResumed(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Payload, spec.Split = threeSegments, true
		spec.Recipients[0].Earlier = []uint32{201}
		spec.Recipients[0].EarlierReason, spec.Recipients[0].EarlierMessage = v1alpha1.ReasonStoredNotRouted, msgNotRouted
		h.submit(spec)
		p := h.await("m", time.Minute).Recipients[0]
		wantProgress(t, p, v1alpha1.StateRouted, v1alpha1.ReasonStoredNotRouted)
		if p.Message != msgNotRouted {
			t.Errorf("its message is %q", p.Message)
		}
	})
}

// storeSegment puts a segment of the task's text into the store, under the id 201 and up.
func (h *harness) storeSegment(spec Task, n int) {
	h.t.Helper()
	m, ok := spec.message(recipientState{Progress: Progress{Recipient: toAlice, Earlier: make([]uint32, n)}}, time.Now())
	if !ok {
		h.t.Fatal("no key")
	}
	h.talk.rows = append(h.talk.rows, stored{&wire.MsgInfo{
		MsgId: proto.Uint32(uint32(201 + n)), FromSessionId: &m.From, CreateTime: &m.CreateTime, MsgType: &m.Type, MsgData: m.Data,
	}, queue.ConversationOf("", bot, toAlice), time.Now()})
}
