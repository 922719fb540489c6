// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var (
	toAlice = user(alice)
	toGroup = v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: group}
)

// always repeats a reply often enough for every try.
func always(r reply) []reply {
	replies := make([]reply, 50)
	for i := range replies {
		replies[i] = r
	}
	return replies
}

// failing makes the named reads fail, for good.
func failing(names ...string) func(string) error {
	return func(read string) error {
		if slices.Contains(names, read) {
			return dbproxy.ErrNoAnswer
		}
		return nil
	}
}

// TestScenarios takes one recipient to its end, however TeamTalk behaves.
func TestScenarios(t *testing.T) {
	unknown := reply{id: proto.Uint32(wire.MsgIDUnknown)}
	unknownStored := reply{id: proto.Uint32(wire.MsgIDUnknown), store: true}
	audio := func(spec *Task) {
		spec.Token = false
		spec.Payload = Payload{Audio: true, Data: []byte("\x00\x00\x00\x03sound")}
		spec.Recipients[0].CreateTime = uint32(time.Now().Unix())
	}
	tokenless := func(spec *Task) {
		spec.Token = false
		spec.Recipients[0].CreateTime = uint32(time.Now().Unix())
	}
	cases := map[string]struct {
		to         v1alpha1.Recipient // alice where empty
		talk       func(*talk)
		spec       func(*Task)
		wantState  v1alpha1.RecipientState
		wantReason string
		// sends, rows and routed in the end
		wantSends, wantRows, wantRouted int
		// wantAfter and wantWithin bound when it ends.
		wantAfter, wantWithin time.Duration
	}{
		"plain": {
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1, wantWithin: 0,
		},
		"plain, to a group": {
			to: toGroup, wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"verification never": {
			talk:      func(f *talk) { f.fails = failing("byID", "list") },
			spec:      func(s *Task) { s.Policy.Verify = false },
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"verification never, no router": {
			talk:      func(f *talk) { f.noRouter = true },
			spec:      func(s *Task) { s.Policy.Verify = false },
			wantState: v1alpha1.StateAcknowledged, wantReason: v1alpha1.ReasonStoredNotRouted,
			wantSends: 1, wantRows: 1, wantAfter: RouteTimeout, wantWithin: RouteTimeout + time.Minute,
		},
		"no answer, and stored": {
			talk:      func(f *talk) { f.replies = []reply{lostAfter} },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1, wantRows: 1, wantRouted: 1,
			wantWithin: 2 * time.Second,
		},
		"no answer, and not stored": {
			talk:      func(f *talk) { f.replies = []reply{lostBefore} },
			wantState: v1alpha1.StateRouted, wantSends: 2, wantRows: 1, wantRouted: 1,
			wantAfter: clientTimeout + settle + lag, wantWithin: clientTimeout + settle + lag + 5*time.Second,
		},
		"no answer, and not stored, in a group": {
			to:        toGroup,
			talk:      func(f *talk) { f.replies = []reply{lostBefore} },
			wantState: v1alpha1.StateRouted, wantSends: 2, wantRows: 1, wantRouted: 1,
			wantAfter: clientTimeout + settle + lag, wantWithin: clientTimeout + settle + lag + 5*time.Second,
		},
		"no answer, and seen late": {
			talk:      func(f *talk) { f.replies, f.lag = []reply{lostAfter}, lag },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1, wantRows: 1, wantRouted: 1,
			wantAfter: lag, wantWithin: 2 * lag,
		},
		"id 0, once": {
			talk:      func(f *talk) { f.replies = []reply{rejected} },
			wantState: v1alpha1.StateRouted, wantSends: 2, wantRows: 1, wantRouted: 1, wantWithin: 2 * time.Second,
		},
		"id 0, always": {
			talk:      func(f *talk) { f.replies = always(rejected) },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted, wantSends: 6,
			// 1, 2, 4, 8 and 16 s, half of each by chance
			wantAfter: 15 * time.Second, wantWithin: 35 * time.Second,
		},
		"id 0, no retries": {
			talk:      func(f *talk) { f.replies = always(rejected) },
			spec:      func(s *Task) { s.Policy.RetryLimit = 0 },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted, wantSends: 1,
		},
		"counter failed, and stored": {
			talk:      func(f *talk) { f.replies = []reply{unknownStored} },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"counter failed, and not stored": {
			talk:      func(f *talk) { f.replies = []reply{unknown} },
			wantState: v1alpha1.StateRouted, wantSends: 2, wantRows: 1, wantRouted: 1,
			wantAfter: settle + lag, wantWithin: settle + lag + 5*time.Second,
		},
		"false success": {
			talk:      func(f *talk) { f.replies = []reply{falseSuccess} },
			wantState: v1alpha1.StateRouted, wantSends: 2, wantRows: 1, wantRouted: 1,
			wantAfter: settle + lag, wantWithin: settle + lag + 5*time.Second,
		},
		"false success, always": {
			talk:      func(f *talk) { f.replies = always(falseSuccess) },
			spec:      func(s *Task) { s.Policy.RetryLimit = 1 },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted, wantSends: 2,
			wantAfter: 2 * (settle + lag), wantWithin: 2*(settle+lag) + 5*time.Second,
		},
		"read back late": {
			talk:      func(f *talk) { f.lag = lag },
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1, wantAfter: lag, wantWithin: 2 * lag,
		},
		"user missing": {
			talk:      func(f *talk) { delete(f.users, alice) },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRecipientNotFound, wantAfter: lag, wantWithin: lag + time.Second,
		},
		"sender missing": {
			talk:      func(f *talk) { delete(f.users, bot) },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonSenderNotFound, wantAfter: lag, wantWithin: lag + time.Second,
		},
		"sender missing, to a group": {
			to:        toGroup,
			talk:      func(f *talk) { delete(f.users, bot) },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonSenderNotFound, wantAfter: lag, wantWithin: lag + time.Second,
		},
		"group missing": {
			to:        toGroup,
			talk:      func(f *talk) { delete(f.groups, group) },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonGroupNotFound, wantAfter: lag, wantWithin: lag + time.Second,
		},
		"sender not in the group": {
			to:        toGroup,
			talk:      func(f *talk) { f.groups[group] = []uint32{alice, bob} },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonSenderNotInGroup, wantAfter: lag, wantWithin: lag + time.Second,
		},
		"empty directory": {
			talk:      func(f *talk) { f.users = nil },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted,
			wantAfter: 15 * time.Second, wantWithin: 35 * time.Second,
		},
		"users unreadable, groups not": {
			to:        toGroup,
			talk:      func(f *talk) { f.users = nil },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted,
			wantAfter: 15 * time.Second, wantWithin: 35 * time.Second,
		},
		"directory silent": {
			talk:      func(f *talk) { f.fails = failing("users") },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted,
			wantAfter: 15 * time.Second, wantWithin: 35 * time.Second,
		},
		"members flushed": {
			to:        toGroup,
			talk:      func(f *talk) { f.groups[group] = nil },
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"no router": {
			talk:      func(f *talk) { f.noRouter = true },
			wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted,
			wantSends: 1, wantRows: 1, wantAfter: RouteTimeout, wantWithin: RouteTimeout + time.Minute,
		},
		"doubt that cannot be settled": {
			talk:      func(f *talk) { f.replies, f.fails = []reply{lostBefore}, failing("list") },
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown,
			wantSends: 1, wantAfter: InDoubtLimit, wantWithin: InDoubtLimit + 2*time.Minute,
		},
		"doubt, and members flushed": {
			to: toGroup,
			talk: func(f *talk) {
				f.replies, f.groups[group] = []reply{lostBefore}, nil
			},
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown,
			wantSends: 1, wantAfter: InDoubtLimit, wantWithin: InDoubtLimit + 2*time.Minute,
		},
		"doubt, and groups unreadable": {
			to: toGroup,
			talk: func(f *talk) {
				f.replies = []reply{lostBefore}
				f.fails = func(read string) error {
					if read == "groups" && len(f.sends) > 0 {
						return dbproxy.ErrMalformed
					}
					return nil
				}
			},
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown,
			wantSends: 1, wantAfter: InDoubtLimit, wantWithin: InDoubtLimit + 2*time.Minute,
		},
		"audio": {
			spec: audio, wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"audio to a group, no answer, stored": {
			to: toGroup, spec: audio,
			talk:      func(f *talk) { f.replies = []reply{lostAfter} },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"audio, no answer, not stored": {
			spec: audio,
			talk: func(f *talk) { f.replies = []reply{lostBefore} },

			wantState: v1alpha1.StateRouted, wantSends: 2, wantRows: 1, wantRouted: 1,
			wantAfter: clientTimeout + settle + lag, wantWithin: clientTimeout + settle + lag + 5*time.Second,
		},
		"tokenless, no answer, stored": {
			spec:      tokenless,
			talk:      func(f *talk) { f.replies = []reply{lostAfter} },
			wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantSends: 1, wantRows: 1, wantRouted: 1,
		},
		"earlier operator, nothing sent": {
			spec:      func(s *Task) { s.EarlierUntil = time.Now().Add(PeerPatience) },
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
			wantAfter: PeerPatience + settle + lag, wantWithin: PeerPatience + settle + lag + 2*time.Second,
		},
		"earlier operator, state never written": {
			spec: func(s *Task) {
				s.EarlierUntil, s.Recipients[0].State = time.Now().Add(PeerPatience), ""
			},
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
			wantAfter: PeerPatience + settle + lag, wantWithin: PeerPatience + settle + lag + 2*time.Second,
		},
		"doubt older than its limit, settled anyway": {
			spec: func(s *Task) {
				s.EarlierUntil = time.Now().Add(PeerPatience)
				s.Recipients[0].State, s.Recipients[0].Attempts = v1alpha1.StateInDoubt, 1
				s.Recipients[0].DoubtSince = time.Now().Add(-3 * InDoubtLimit)
			},
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
			wantAfter: PeerPatience + settle + lag, wantWithin: PeerPatience + settle + lag + 5*time.Second,
		},
		"failed before": {
			spec: func(s *Task) {
				s.Recipients[0].State, s.Recipients[0].Reason = v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown
			},
			wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown,
		},
		"delivered before, unannounced": {
			spec: func(s *Task) {
				s.Recipients[0].State, s.Recipients[0].Reason = v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted
			},
			wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted,
		},
		"stored before, and gone": {
			spec: func(s *Task) {
				s.Recipients[0].State, s.Recipients[0].MessageID = v1alpha1.StateStored, 9
			},
			wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted,
			wantAfter: RouteTimeout, wantWithin: RouteTimeout + time.Minute,
		},
		"acknowledged before, and not stored": {
			spec: func(s *Task) {
				s.Recipients[0].State, s.Recipients[0].MessageID, s.Recipients[0].Attempts = v1alpha1.StateAcknowledged, 9, 1
			},
			wantState: v1alpha1.StateRouted, wantSends: 1, wantRows: 1, wantRouted: 1,
			wantAfter: settle + lag, wantWithin: settle + lag + 5*time.Second,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				if tc.talk != nil {
					tc.talk(h.talk)
				}
				if tc.to == (v1alpha1.Recipient{}) {
					tc.to = toAlice
				}
				spec := h.task("m", tc.to)
				if tc.spec != nil {
					tc.spec(&spec)
				}
				began := time.Now()
				h.submit(spec)
				p := h.await("m", tc.wantWithin+time.Second).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				h.wantCounts(tc.wantSends, tc.wantRows, tc.wantRouted)
				if took := time.Since(began); took < tc.wantAfter || took > tc.wantWithin+time.Second {
					t.Errorf("took %v, want %v to %v", took, tc.wantAfter, tc.wantWithin)
				}
				if sends := int32(tc.wantSends); spec.Recipients[0].Attempts+sends != p.Attempts {
					t.Errorf("%d attempts reported, %d made", p.Attempts, sends)
				}
			})
		})
	}
}
