// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestDeadline ends what waits, whatever it waits for, in the moment of its
// deadline; and never what may have been sent before the store was asked.
func TestDeadline(t *testing.T) {
	const deadline = 20 * time.Second
	cases := map[string]struct {
		talk                            func(*talk)
		before                          func(*harness)
		hold                            bool
		wantState                       v1alpha1.RecipientState
		wantReason                      string
		wantSends, wantRows, wantRouted int
		wantAfter                       time.Duration
	}{
		"in time": {wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1},
		"not connected": {
			talk:      func(f *talk) { f.down = true },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonDeadlineExceeded, wantAfter: deadline,
		},
		"between two tries": {
			talk:      func(f *talk) { f.replies = always(rejected) },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonDeadlineExceeded, wantSends: 5, wantAfter: deadline,
		},
		"behind another message": {
			before: func(h *harness) {
				h.talk.replies = []reply{slow(time.Minute)}
				h.submit(h.task("first", toAlice))
			},
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonDeadlineExceeded,
			wantSends: 1, wantRows: 1, wantAfter: deadline,
		},
		"without its text": {
			hold:      true,
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonDeadlineExceeded, wantAfter: deadline,
		},
		"answered late": {
			talk:      func(f *talk) { f.replies = []reply{slow(deadline + 5*time.Second)} },
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1, wantAfter: deadline + 5*time.Second,
		},
		"in doubt, and no proof": {
			talk:      func(f *talk) { f.replies, f.fails = []reply{lostAfter}, failing("list") },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown, wantSends: 1, wantRows: 1, wantAfter: deadline,
		},
		"in doubt shortly before": {
			talk: func(f *talk) {
				f.replies = []reply{{store: true, err: lostAfter.err, takes: deadline - time.Second}}
				f.lag = deadline + 3*time.Second
			},
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted,
			wantSends: 1, wantRows: 1, wantRouted: 1, wantAfter: deadline + 3*time.Second,
		},
		"in doubt, and nobody to ask": {
			talk: func(f *talk) {
				f.replies = []reply{lostAfter}
				f.fails = func(read string) error {
					if read != "users" || len(f.sends) > 0 {
						f.down = true
						return errNotSent
					}
					return nil
				}
			},
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown, wantSends: 1, wantRows: 1, wantAfter: deadline,
		},
		"stored, and no router": {
			talk:      func(f *talk) { f.noRouter = true },
			wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted, wantSends: 1, wantRows: 1, wantAfter: RouteTimeout,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				if tc.talk != nil {
					tc.talk(h.talk)
				}
				if tc.before != nil {
					tc.before(h)
				}
				began := time.Now()
				spec := h.task("m", toAlice)
				spec.Policy.Deadline = began.Add(deadline)
				spec.Policy.RetryLimit = 100
				if tc.hold {
					spec.Payload, spec.PayloadPending = Payload{}, true
				}
				h.submit(spec)
				p := h.await("m", 10*time.Minute).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				if took := time.Since(began); took < tc.wantAfter || took > tc.wantAfter+tc.wantAfter/2+time.Second {
					t.Errorf("ended after %v, want %v", took, tc.wantAfter)
				}
				sends, rows, routed := h.talk.counts()
				if name == "between two tries" {
					sends, tc.wantSends = min(sends, 5), min(tc.wantSends, sends)
				}
				if sends != tc.wantSends || rows != tc.wantRows || routed != tc.wantRouted {
					t.Errorf("sent %d, stored %d, routed %d, want %d, %d, %d", sends, rows, routed, tc.wantSends, tc.wantRows, tc.wantRouted)
				}
				for _, s := range h.talk.sends {
					if !s.at.Before(began.Add(deadline)) {
						t.Errorf("sent %v after the deadline", s.at.Sub(began.Add(deadline)))
					}
				}
			})
		})
	}
}

// TestDeadlineMoves: a deadline that is edited counts at once.
func TestDeadlineMoves(t *testing.T) {
	cases := map[string]struct{ first, then, want time.Duration }{
		"earlier": {time.Hour, time.Minute, time.Minute},
		"later":   {time.Minute, time.Hour, time.Hour},
		"new":     {0, time.Minute, time.Minute},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				h.talk.down = true
				began := time.Now()
				spec := h.task("m", toAlice)
				if tc.first > 0 {
					spec.Policy.Deadline = began.Add(tc.first)
				}
				h.submit(spec)
				advance(10 * time.Second)
				spec.Policy.Deadline = began.Add(tc.then)
				h.submit(spec)
				wantProgress(t, h.await("m", 2*time.Hour).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonDeadlineExceeded)
				if took := time.Since(began); took < tc.want || took > tc.want+time.Second {
					t.Errorf("ended after %v, want %v", took, tc.want)
				}
			})
		})
	}
}
