// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// TestReadBeforeTracked: a notify can come between db_proxy's commit and its answer. Then the message may have been
// read.
func TestReadBeforeTracked(t *testing.T) {
	for name, tc := range map[string]struct {
		of        to
		before    uint32 // what was read before the send began
		happens   func(h *harness)
		wantHeard bool
	}{
		"nothing": {user(3, 5), 0, func(*harness) {}, true},
		// Ids can begin again: it is about another message.
		"it was read before":    {user(3, 5), 9, func(*harness) {}, true},
		"it is read":            {user(3, 5), 0, func(h *harness) { h.reads(3, sender, 5) }, false},
		"beyond it":             {user(3, 5), 0, func(h *harness) { h.reads(3, sender, 6) }, false},
		"an earlier one":        {user(3, 5), 0, func(h *harness) { h.reads(3, sender, 4) }, true},
		"it, then an older one": {user(3, 5), 0, func(h *harness) { h.reads(3, sender, 5); h.reads(3, sender, 4) }, false},
		"by another":            {user(3, 5), 0, func(h *harness) { h.reads(4, sender, 5) }, true},
		"a notify is dropped":   {user(3, 5), 0, func(h *harness) { h.drop(chat) }, false},
		"another server's":      {user(3, 5), 0, func(h *harness) { h.drop(other) }, true},
		"a group's":             {group(7, 5), 0, func(h *harness) { h.readsGroup(3, 7, 5) }, false},
		"by its sender":         {group(7, 5), 0, func(h *harness) { h.readsGroup(sender, 7, 5) }, true},
		"by its sender, too": {group(7, 5), 0, func(h *harness) {
			h.readsGroup(3, 7, 5)
			h.readsGroup(sender, 7, 5)
		}, false},
		"in the period before": {user(3, 5), 0, func(h *harness) {
			h.reads(3, sender, 5)
			pass(recentAge)
			h.reads(8, 9, 1)
		}, false},
		"in one that is forgotten": {user(3, 5), 0, func(h *harness) {
			h.reads(3, sender, 5)
			pass(recentAge)
			h.reads(8, 9, 1)
			pass(recentAge)
			h.reads(8, 9, 1)
		}, false},
		"more conversations than are remembered": {user(3, 5), 0, func(h *harness) {
			h.reads(3, sender, 5)
			for i := range uint32(2 * maxRecent) {
				pass(time.Microsecond)
				h.reads(100+i, 9, 1)
				synctest.Wait()
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				if tc.before != 0 {
					h.reads(3, sender, tc.before)
					synctest.Wait()
				}
				pass(time.Second)
				began := time.Now()
				pass(time.Second) // db_proxy has stored it
				tc.happens(h)
				synctest.Wait()
				pass(time.Second)
				h.stepSince(began, tc.of, delivery.StepSend, nil, tc.of.msg, v1alpha1.StateAcknowledged)
				h.routed(tc.of)
				if r := h.receipt(tc.of); !r.heardSince.IsZero() != tc.wantHeard || r.readBy() != 0 {
					t.Errorf("%+v, want heard %v", r, tc.wantHeard)
				}
				if n := len(h.recent.current.last) + len(h.recent.older.last); n > 2*maxRecent {
					t.Errorf("%d conversations are remembered", n)
				}
			})
		})
	}
}

// TestSegmentReadBeforeTracked is TestReadBeforeTracked for the last segment of a text.
func TestSegmentReadBeforeTracked(t *testing.T) {
	m := user(3, 5)
	for name, tc := range map[string]struct {
		step      delivery.Step
		upTo      uint32 // of the notify
		notNeeded bool
		wantHeard bool
	}{
		"the first is read":          {delivery.StepSend, 5, false, true},
		"the last is read":           {delivery.StepSend, 6, false, false},
		"found in the store":         {delivery.StepAsk, 5, false, false},
		"the last one is not needed": {delivery.StepSend, 5, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			withTracker(t, func(h *harness) {
				h.sent(m)
				pass(time.Second)
				began := time.Now()
				pass(time.Second)
				h.reads(3, sender, tc.upTo)
				synctest.Wait()
				h.stepSince(began, m, tc.step, []uint32{5}, 6, v1alpha1.StateAcknowledged)
				h.stepSince(time.Now(), m, delivery.StepRoute, []uint32{5}, 6, v1alpha1.StateRouted)
				if tc.notNeeded {
					h.step(m, delivery.StepSend, segmentOf(m, []uint32{5}, 6, v1alpha1.StatePending), segmentOf(m, nil, 5, v1alpha1.StateRouted))
				}
				if r := h.receipt(m); !r.heardSince.IsZero() != tc.wantHeard || r.readBy() != 0 {
					t.Errorf("%+v, want heard %v", r, tc.wantHeard)
				}
			})
		})
	}
}

func segmentOf(m to, earlier []uint32, id uint32, state v1alpha1.RecipientState) delivery.Progress {
	p := m.progress(state)
	p.Earlier, p.MessageID = earlier, id
	return p
}

// stepSince tells the Tracker of a step that began at a time, and has ended now.
func (h *harness) stepSince(
	began time.Time, m to, step delivery.Step, earlier []uint32, id uint32, state v1alpha1.RecipientState,
) {
	h.Observe(delivery.StepEvent{
		Message: m.resource().Key, UID: m.resource().UID, Server: m.server, Sender: m.from, Step: step, Began: began,
		Ended: time.Now(), Before: m.progress(v1alpha1.StatePending), After: segmentOf(m, earlier, id, state),
	})
}
