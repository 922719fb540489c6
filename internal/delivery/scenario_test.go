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
	// counterFailed is an id that proves nothing.
	counterFailed = reply{id: proto.Uint32(wire.MsgIDUnknown)}
)

// always repeats a reply often enough for every try.
func always(r reply) []reply { return slices.Repeat([]reply{r}, 50) }

// failing makes the named reads fail, for good.
func failing(names ...string) func(string) error {
	return func(read string) error {
		if slices.Contains(names, read) {
			return dbproxy.ErrNoAnswer
		}
		return nil
	}
}

// replying has the first sends answered so.
func replying(r ...reply) func(*talk) { return func(f *talk) { f.replies = r } }

// rejecting rejects all sends.
func rejecting(f *talk) { f.replies = always(rejected) }

// unreadable makes the named reads fail.
func unreadable(names ...string) func(*talk) { return func(f *talk) { f.fails = failing(names...) } }

// downAt loses the connection before one of the named reads, once something was sent.
func downAt(names ...string) func(*talk) {
	return func(f *talk) {
		f.fails = func(read string) error {
			if len(f.sends) == 0 || !slices.Contains(names, read) {
				return nil
			}
			f.down = true
			return errNotSent
		}
	}
}

func noRouter(f *talk)     { f.noRouter = true }
func disconnected(f *talk) { f.down = true }

// lacking removes a user.
func lacking(user uint32) func(*talk) { return func(f *talk) { delete(f.users, user) } }

// withMembers gives the group other members.
func withMembers(members ...uint32) func(*talk) {
	return func(f *talk) { f.groups[group] = members }
}

// all makes several changes.
func all(changes ...func(*talk)) func(*talk) {
	return func(f *talk) {
		for _, change := range changes {
			change(f)
		}
	}
}

// tokenless is a message whose time is recorded.
func tokenless(spec *Task) {
	spec.Token, spec.Recipients[0].CreateTime = false, uint32(time.Now().Unix())
}

func voice(spec *Task) {
	tokenless(spec)
	spec.Payload = Payload{Audio: true, Data: []byte("\x00\x00\x00\x03sound")}
}

// takenOver is a message that another operator may have sent.
func takenOver(spec *Task) { spec.EarlierUntil = time.Now().Add(PeerPatience) }

// recordedAs gives the recipient the progress that an earlier process has recorded.
func recordedAs(p Progress) func(*Task) {
	return func(spec *Task) {
		p.Recipient = spec.Recipients[0].Recipient
		spec.Recipients[0] = p
	}
}

// TestScenarios takes one recipient to its end, however TeamTalk behaves.
func TestScenarios(t *testing.T) {
	const (
		answered  = settle + lag
		lost      = clientTimeout + settle + lag
		earlier   = PeerPatience + settle + lag
		exhausted = v1alpha1.ReasonRetriesExhausted
		unknown   = v1alpha1.ReasonOutcomeUnknown
		notRouted = v1alpha1.ReasonStoredNotRouted
		// retries are 1, 2, 4, 8 and 16 s, half of each by chance.
		retriesFrom, retriesTo = 15 * time.Second, 35 * time.Second
		aBit                   = 5 * time.Second
	)
	stored, storedCounts := v1alpha1.StateStored, counts{1, 1, 0}
	type scenario struct {
		to   v1alpha1.Recipient // alice where empty
		talk func(*talk)
		spec func(*Task)
		want result
		// after and within bound when it ends.
		after, within time.Duration
	}
	runEach(t, map[string]scenario{
		"plain":              {want: routed(1)},
		"plain, to a group":  {to: toGroup, want: routed(1)},
		"verification never": {talk: unreadable("byID", "list"), spec: func(s *Task) { s.Policy.Verify = false }, want: routed(1)},
		"verification never, no router": {
			talk: noRouter, spec: func(s *Task) { s.Policy.Verify = false },
			want: result{v1alpha1.StateAcknowledged, notRouted, storedCounts}, after: RouteTimeout, within: RouteTimeout + time.Minute,
		},
		"no answer, and stored":     {talk: replying(lostAfter), want: adopted, within: 2 * time.Second},
		"no answer, and not stored": {talk: replying(lostBefore), want: routed(2), after: lost, within: lost + aBit},
		"no answer, and not stored, in a group": {
			to: toGroup, talk: replying(lostBefore), want: routed(2), after: lost, within: lost + aBit,
		},
		"no answer, and seen late": {
			talk: all(replying(lostAfter), func(f *talk) { f.lag = lag }), want: adopted, after: lag, within: 2 * lag,
		},
		"id 0, once":                 {talk: replying(rejected), want: routed(2), within: 2 * time.Second},
		"id 0, always":               {talk: rejecting, want: failed(exhausted, 6), after: retriesFrom, within: retriesTo},
		"id 0, no retries":           {talk: rejecting, spec: func(s *Task) { s.Policy.RetryLimit = 0 }, want: failed(exhausted, 1)},
		"counter failed, and stored": {talk: replying(reply{id: counterFailed.id, store: true}), want: adopted},
		"counter failed, and not stored": {
			talk: replying(counterFailed), want: routed(2), after: answered, within: answered + aBit,
		},
		"false success": {talk: replying(falseSuccess), want: routed(2), after: answered, within: answered + aBit},
		"false success, always": {
			talk: replying(always(falseSuccess)...), spec: func(s *Task) { s.Policy.RetryLimit = 1 },
			want: failed(exhausted, 2), after: 2 * answered, within: 2*answered + aBit,
		},
		"read back late": {talk: func(f *talk) { f.lag = lag }, want: routed(1), after: lag, within: 2 * lag},
		"user missing":   {talk: lacking(alice), want: failed(v1alpha1.ReasonRecipientNotFound, 0), after: lag, within: lag + time.Second},
		"sender missing": {talk: lacking(bot), want: failed(v1alpha1.ReasonSenderNotFound, 0), after: lag, within: lag + time.Second},
		"sender missing, to a group": {
			to: toGroup, talk: lacking(bot), want: failed(v1alpha1.ReasonSenderNotFound, 0), after: lag, within: lag + time.Second,
		},
		"group missing": {
			to: toGroup, talk: func(f *talk) { delete(f.groups, group) },
			want: failed(v1alpha1.ReasonGroupNotFound, 0), after: lag, within: lag + time.Second,
		},
		"sender not in the group": {
			to: toGroup, talk: withMembers(alice, bob),
			want: failed(v1alpha1.ReasonSenderNotInGroup, 0), after: lag, within: lag + time.Second,
		},
		"empty directory": {
			talk: func(f *talk) { f.users = nil }, want: failed(exhausted, 0), after: retriesFrom, within: retriesTo,
		},
		"users unreadable, groups not": {
			to: toGroup, talk: func(f *talk) { f.users = nil }, want: failed(exhausted, 0), after: retriesFrom, within: retriesTo,
		},
		"directory silent": {talk: unreadable("users"), want: failed(exhausted, 0), after: retriesFrom, within: retriesTo},
		"members flushed":  {to: toGroup, talk: withMembers(), want: routed(1)},
		"no router": {
			talk: noRouter, want: result{stored, notRouted, storedCounts}, after: RouteTimeout, within: RouteTimeout + time.Minute,
		},
		"doubt that cannot be settled": {
			talk: all(replying(lostBefore), unreadable("list")),
			want: failed(unknown, 1), after: InDoubtLimit, within: InDoubtLimit + 2*time.Minute,
		},
		"doubt, and members flushed": {
			to: toGroup, talk: all(replying(lostBefore), withMembers()), // 0x030b needs no members
			want: routed(2), after: lost, within: lost + aBit,
		},
		"doubt, and groups unreadable": {
			to: toGroup,
			talk: all(replying(lostBefore), func(f *talk) {
				f.fails = func(read string) error {
					if read == "groups" && len(f.sends) > 0 {
						return dbproxy.ErrMalformed
					}
					return nil
				}
			}),
			want: failed(unknown, 1), after: InDoubtLimit, within: InDoubtLimit + 2*time.Minute,
		},
		"audio":                               {spec: voice, want: routed(1)},
		"audio to a group, no answer, stored": {to: toGroup, spec: voice, talk: replying(lostAfter), want: adopted},
		"audio, no answer, not stored": {
			spec: voice, talk: replying(lostBefore), want: routed(2), after: lost, within: lost + aBit,
		},
		"tokenless, no answer, stored":   {spec: tokenless, talk: replying(lostAfter), want: adopted},
		"earlier operator, nothing sent": {spec: takenOver, want: routed(1), after: earlier, within: earlier + 2*time.Second},
		"earlier operator, state never written": {
			spec: func(s *Task) {
				takenOver(s)
				s.Recipients[0].State = ""
			},
			want: routed(1), after: earlier, within: earlier + 2*time.Second,
		},
		"doubt older than its limit, settled anyway": {
			spec: func(s *Task) {
				takenOver(s)
				recordedAs(Progress{
					State: v1alpha1.StateInDoubt, Attempts: 1, DoubtSince: time.Now().Add(-3 * InDoubtLimit),
				})(s)
			},
			want: routed(1), after: earlier, within: earlier + aBit,
		},
		"failed before":                 {spec: recordedAs(Progress{State: v1alpha1.StateFailed, Reason: unknown}), want: failed(unknown, 0)},
		"delivered before, unannounced": {spec: recordedAs(Progress{State: stored, Reason: notRouted}), want: result{stored, notRouted, counts{}}},
		"stored before, and gone": {
			spec: recordedAs(Progress{State: stored, MessageID: 9}),
			want: result{stored, notRouted, counts{}}, after: RouteTimeout, within: RouteTimeout + time.Minute,
		},
		"acknowledged before, and not stored": {
			spec: recordedAs(Progress{State: v1alpha1.StateAcknowledged, MessageID: 9, Attempts: 1}),
			want: routed(1), after: answered, within: answered + aBit,
		},
	}, func(h *harness, tc scenario) {
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
		p := h.deliver(spec, tc.within+time.Second, tc.want)
		h.wantTook(began, tc.after, tc.within)
		if made := spec.Recipients[0].Attempts + int32(tc.want.sends); made != p.Attempts {
			h.t.Errorf("%d attempts reported, %d made", p.Attempts, made)
		}
	})
}

// TestDeadline ends what waits, whatever it waits for, in the moment of its deadline; and never what may have been
// sent before the store was asked.
func TestDeadline(t *testing.T) {
	const deadline = 20 * time.Second
	expired, sent := v1alpha1.ReasonDeadlineExceeded, counts{1, 1, 0}
	type scenario struct {
		talk    func(*talk)
		before  func(*harness)
		pending bool
		want    result
		// moreSends: it may be sent once more, by chance.
		moreSends bool
		after     time.Duration
	}
	runEach(t, map[string]scenario{
		"in time":           {want: routed(1)},
		"not connected":     {talk: disconnected, want: failed(expired, 0), after: deadline},
		"between two tries": {talk: rejecting, want: failed(expired, 5), moreSends: true, after: deadline},
		"behind another message": {
			before: func(h *harness) {
				h.talk.replies = []reply{slow(time.Minute)}
				h.submit(h.task("first", toAlice))
			},
			want: result{v1alpha1.StateFailed, expired, sent}, after: deadline,
		},
		"without its text": {pending: true, want: failed(expired, 0), after: deadline},
		"answered late":    {talk: replying(slow(deadline + 5*time.Second)), want: routed(1), after: deadline + 5*time.Second},
		"in doubt, and no proof": {
			talk: all(replying(lostAfter), unreadable("list")),
			want: result{v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, sent}, after: deadline,
		},
		"in doubt shortly before": {
			talk: all(replying(reply{store: true, err: lostAfter.err, takes: deadline - time.Second}), func(f *talk) {
				f.lag = deadline + 3*time.Second
			}),
			want: adopted, after: deadline + 3*time.Second,
		},
		"in doubt, and nobody to ask": {
			talk: all(replying(lostAfter), downAt("users", "list", "byID")),
			want: result{v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown, sent}, after: deadline,
		},
		"stored, and no router": {
			talk: noRouter, want: result{v1alpha1.StateStored, v1alpha1.ReasonStoredNotRouted, sent}, after: RouteTimeout,
		},
	}, func(h *harness, tc scenario) {
		if tc.talk != nil {
			tc.talk(h.talk)
		}
		if tc.before != nil {
			tc.before(h)
		}
		began := time.Now()
		spec := h.task("m", toAlice)
		spec.Policy.Deadline, spec.Policy.RetryLimit = began.Add(deadline), 100
		if tc.pending {
			spec.Payload, spec.PayloadPending = Payload{}, true
		}
		h.submit(spec)
		h.await("m", 10*time.Minute)
		if tc.moreSends {
			tc.want.sends = max(tc.want.sends, h.talk.counts().sends)
		}
		h.wantEnd("m", 0, tc.want)
		h.wantTook(began, tc.after, tc.after+tc.after/2)
		for _, s := range h.talk.sends {
			if !s.at.Before(began.Add(deadline)) {
				h.t.Errorf("sent %v after the deadline", s.at.Sub(began.Add(deadline)))
			}
		}
	})
}

// TestDeadlineMoves: a deadline that is edited counts at once.
func TestDeadlineMoves(t *testing.T) {
	type move struct{ first, then time.Duration }
	runEach(t, map[string]move{
		"earlier": {time.Hour, time.Minute}, "later": {time.Minute, time.Hour}, "new": {0, time.Minute},
	}, func(h *harness, tc move) {
		h.talk.down = true
		began := time.Now()
		spec := h.task("m", toAlice)
		if tc.first > 0 {
			spec.Policy.Deadline = began.Add(tc.first)
		}
		h.submit(spec)
		advance(10 * time.Second)
		spec.Policy.Deadline = began.Add(tc.then)
		h.deliver(spec, 2*time.Hour, failed(v1alpha1.ReasonDeadlineExceeded, 0))
		h.wantTook(began, tc.then, tc.then)
	})
}
