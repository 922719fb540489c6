// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// store puts the task's message to Alice into the store, as an earlier operator
// would have.
func (h *harness) store(spec Task) {
	m, ok := spec.message(recipientState{Progress: spec.Recipients[0]}, time.Now())
	if !ok {
		h.t.Fatal("no key")
	}
	h.talk.rows = append(h.talk.rows, stored{&wire.MsgInfo{
		MsgId: proto.Uint32(7), FromSessionId: &m.From, CreateTime: &m.CreateTime, MsgType: &m.Type, MsgData: m.Data,
	}, queue.ConversationOf("", bot, toAlice), time.Now()})
}

// TestRefused: what may not be sent any more is still asked for, and fails only
// when the store shows that it was not.
func TestRefused(t *testing.T) {
	for name, sentBefore := range map[string]bool{"sent before": true, "not sent": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.task("m", toAlice)
				if sentBefore {
					h.store(spec)
				}
				spec.EarlierUntil = time.Now().Add(PeerPatience)
				spec.Payload = Payload{}
				spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonContentEmpty, Message: "empty"}}
				h.submit(spec)
				p := h.await("m", 2*time.Minute).Recipients[0]
				if sentBefore {
					wantProgress(t, p, v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
					h.wantCounts(0, 1, 1)
					return
				}
				wantProgress(t, p, v1alpha1.StateFailed, v1alpha1.ReasonContentEmpty)
				h.wantCounts(0, 0, 0)
			})
		})
	}
}

// TestHold: without a payload, what was sent is found and announced; what was not
// waits for the payload.
func TestHold(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice, user(bob))
		full := spec.Payload
		h.store(spec)
		spec.EarlierUntil = time.Now().Add(PeerPatience)
		spec.Payload, spec.PayloadPending = Payload{}, true
		h.submit(spec)
		advance(5 * time.Minute)
		s := h.snapshot("m")
		wantProgress(t, s.Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		wantProgress(t, s.Recipients[1], v1alpha1.StatePending, "")
		if !s.PayloadPending || !s.Running {
			t.Errorf("held %v, running %v", s.PayloadPending, s.Running)
		}
		h.wantCounts(0, 1, 1)
		spec.Payload, spec.PayloadPending = full, false
		h.submit(spec)
		wantProgress(t, h.await("m", time.Minute).Recipients[1], v1alpha1.StateRouted, "")
		h.wantCounts(1, 2, 2)
	})
}

// TestNothingToSend: an empty payload is never sent, whoever lets it come that far.
func TestNothingToSend(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Payload = Payload{}
		h.submit(spec)
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonContentEmpty)
		h.wantCounts(0, 0, 0)
	})
}

// TestHiddenHistory: a group that hides its newest rows, as from one who joined
// after their time, proves nothing by showing none.
func TestHiddenHistory(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.lag = 8 * time.Minute
		h.submit(h.task("m", toGroup))
		advance(6 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		wantProgress(t, h.await("m", 20*time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
	})
}

func TestSearchGroup(t *testing.T) {
	k := key(t, 1)
	fingerprint := Fingerprint{Sender: bot, Reach: 50, Token: cipher.Token{1}, HasToken: true}
	other := func(created uint32) *wire.MsgInfo {
		return info(alice, created, wire.MsgType_MSG_TYPE_GROUP_TEXT, k.Encrypt([]byte("x")))
	}
	cases := map[string]struct {
		rows []*wire.MsgInfo
		want bool
	}{
		"nothing":          {nil, false},
		"only newer ones":  {[]*wire.MsgInfo{other(60)}, false},
		"one of that time": {[]*wire.MsgInfo{other(60), other(50)}, true},
		"an older one":     {[]*wire.MsgInfo{other(60), other(40)}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if row, whole := searchRows(tc.rows, 10, 50, fingerprint, cipher.Keys{Current: k}); row != nil || whole != tc.want {
				t.Errorf("row %v, whole %v, want %v", row, whole, tc.want)
			}
		})
	}
}

// TestHoldOfAudio: without its sound, a voice message is neither found nor proved
// absent; with it, it is found.
func TestHoldOfAudio(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		spec.Payload = Payload{Audio: true, Data: []byte("\x00\x00\x00\x01sound")}
		spec.Recipients[0].CreateTime = uint32(time.Now().Unix())
		h.store(spec)
		full := spec.Payload
		spec.EarlierUntil = time.Now().Add(PeerPatience)
		spec.Payload.Data, spec.PayloadPending = nil, true
		h.submit(spec)
		advance(5 * time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)
		spec.Payload, spec.PayloadPending = full, false
		h.submit(spec)
		wantProgress(t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, v1alpha1.ReasonAdopted)
		h.wantCounts(0, 1, 1)
	})
}

// TestReleasedRefusal: who was refused while the payload was missing stays refused
// when it comes.
func TestReleasedRefusal(t *testing.T) {
	run(t, func(h *harness) {
		spec := h.task("m", toAlice)
		full := spec.Payload
		spec.EarlierUntil = time.Now().Add(PeerPatience)
		spec.Refusals = map[v1alpha1.Recipient]v1alpha1.Cause{toAlice: {Reason: v1alpha1.ReasonRecipientNotPermitted, Message: "no"}}
		spec.Payload, spec.PayloadPending = Payload{}, true
		h.submit(spec)
		spec.Payload, spec.PayloadPending, spec.Refusals = full, false, nil
		h.submit(spec)
		wantProgress(t, h.await("m", 2*time.Minute).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotPermitted)
		h.wantCounts(0, 0, 0)
	})
}

// TestLateRenewal: what lacks a payload does not take a task on that has ended.
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
		h.submit(spec)
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
	})
}
