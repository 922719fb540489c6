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
