// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestRecordedRowsAreNeverRead: a doubt ends with that reason, after its deadline or else later than others.
func TestRecordedRowsAreNeverRead(t *testing.T) {
	type scenario struct{ deadline, atLeast, atMost time.Duration }
	runEach(t, map[string]scenario{
		"with a deadline":      {deadline: 10 * time.Minute, atLeast: 10 * time.Minute, atMost: 12 * time.Minute},
		"its deadline is over": {deadline: -time.Minute, atLeast: recordedGrace, atMost: recordedGrace + 2*time.Minute},
		"without a deadline":   {atLeast: 2 * InDoubtLimit, atMost: 2*InDoubtLimit + 2*time.Minute},
	}, func(h *harness, tc scenario) {
		h.Recorded = func(context.Context, func(RecordedRow)) error { return errors.New("forbidden") }
		began, spec := time.Now(), h.keyed("m", "hello", toAlice)
		if tc.deadline != 0 {
			spec.Policy.Deadline = began.Add(tc.deadline)
		}
		h.submit(spec)
		p := h.await("m", 5*InDoubtLimit).Recipients[0]
		wantProgress(h.t, p, v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		if p.Message != unknownBecause(whyRecorded) {
			h.t.Error(p.Message)
		}
		h.wantTook(began, tc.atLeast, tc.atMost)
		h.wantCounts(0, 0, 0)
	})
}

// TestRecordedRowIsNotShown: after a takeover, a replica has stopped before a row that a finished message of the
// conversation has recorded. It shows rows, and neither this one nor the message in doubt.
func TestRecordedRowIsNotShown(t *testing.T) {
	type scenario struct {
		to v1alpha1.Recipient
		// drained: the doubt is recorded, and the operator before has ended cleanly.
		drained bool
		// earlier: the recorded row is older than the message, instead of newer.
		earlier bool
		// read: finished messages have been read before.
		read bool
	}
	runEach(t, map[string]scenario{
		"taken over":           {to: toAlice},
		"taken over, read":     {to: toAlice, read: true},
		"taken over, group":    {to: toGroup},
		"drained":              {to: toAlice, drained: true},
		"drained, group":       {to: toGroup, drained: true},
		"an earlier row":       {to: toAlice, earlier: true},
		"an earlier row, read": {to: toAlice, earlier: true, read: true},
	}, func(h *harness, tc scenario) {
		h.deliverAll(tc.to, "a")
		h.talk.change(h.talk.stopReplica)
		replica := h.talk.replica
		h.talk.change(func() { h.talk.replica = nil })
		spec := h.task("m", tc.to)
		if !tc.earlier {
			h.store(spec)
			advance(OrderGrace + time.Second)
		}
		h.deliverAll(tc.to, "recorded")
		recorded := recordedOf(tc.to, h.talk.rows[len(h.talk.rows)-1].GetMsgId())
		if tc.earlier {
			spec = h.task("m", tc.to)
			h.store(spec)
		}
		advance(time.Minute)
		h.talk.change(func() { h.talk.replica = replica })
		defer h.restart(recorded)()
		if tc.read {
			h.startReadingRecorded()
			<-h.recordedRead
		}
		if takenOver(&spec); tc.drained {
			spec.EarlierUntil, spec.FromPriorTerm = time.Time{}, false
			recordedAs(Progress{State: v1alpha1.StateInDoubt, Reason: v1alpha1.ReasonNoAnswer, Attempts: 1, DoubtSince: time.Now()})(&spec)
		}
		h.submit(spec)
		advance(10 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyMissing(recorded.ID) {
			h.t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
		h.talk.change(func() { h.talk.replica = nil })
		p := h.await("m", 5*time.Minute).Recipients[0]
		wantProgress(h.t, p, v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted)
		h.wantRows(3)
	})
}

// TestRecordedRowIsShown: where it is, the message is proved absent, also where only another member of the group is shown
// it.
func TestRecordedRowIsShown(t *testing.T) {
	type scenario struct {
		to       v1alpha1.Recipient
		joinedAt bool
	}
	runEach(t, map[string]scenario{
		"user": {to: toAlice}, "group": {to: toGroup}, "group, joined again": {to: toGroup, joinedAt: true},
	}, func(h *harness, tc scenario) {
		h.talk.say(5, alice, time.Now().Add(-time.Hour))
		spec := h.task("m", tc.to)
		advance(time.Second)
		h.deliverAll(tc.to, "a")
		row := h.talk.rows[len(h.talk.rows)-1]
		if advance(time.Second); tc.joinedAt {
			h.talk.joinedAt = map[uint32]uint32{bot: uint32(time.Now().Unix())}
		}
		defer h.restart(recordedOf(tc.to, row.GetMsgId()))()
		takenOver(&spec)
		h.deliver(spec, 2*time.Minute, result{v1alpha1.StateRouted, "", counts{2, 3, 2}})
	})
}
