// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

var (
	base   = time.Unix(1_000_000, 0)
	policy = Policy{Verify: true, Settle: settle, ReplicaLag: lag, RetryLimit: 3}
	row    = &wire.MsgInfo{MsgId: proto.Uint32(9), CreateTime: proto.Uint32(uint32(base.Unix()))}
)

// envAt returns the environment at a time, with the longest backoffs.
func envAt(now time.Time) environment {
	return environment{Policy: policy, now: now, jitter: func(d time.Duration) time.Duration { return d }}
}

func TestNextStep(t *testing.T) {
	later := base.Add(time.Second)
	cases := map[string]struct {
		p         recipientState
		noVerify  bool
		notBefore time.Time
		want      Step
		wantUntil time.Time
	}{
		"failed":                     {p: recipientState{Progress: Progress{State: v1alpha1.StateFailed}, wakeAt: later, waitReady: true}, want: StepDone},
		"routed":                     {p: recipientState{Progress: Progress{State: v1alpha1.StateRouted}}, want: StepDone},
		"stored, not routed":         {p: recipientState{Progress: Progress{State: v1alpha1.StateStored, Reason: v1alpha1.ReasonStoredNotRouted}}, want: StepDone},
		"waiting for the connection": {p: recipientState{Progress: Progress{State: v1alpha1.StatePending}, wakeAt: later, waitReady: true}, want: StepWaitReady},
		"too early":                  {p: recipientState{Progress: Progress{State: v1alpha1.StateInDoubt}, wakeAt: later}, want: StepWait, wantUntil: later},
		"in time":                    {p: recipientState{Progress: Progress{State: v1alpha1.StateInDoubt}, wakeAt: base}, want: StepAsk},
		"new":                        {p: recipientState{Progress: Progress{State: v1alpha1.StatePending}}, want: StepPreflight},
		"scheduled":                  {p: recipientState{Progress: Progress{State: v1alpha1.StatePending}, checked: true}, notBefore: later, want: StepWait, wantUntil: later},
		"scheduled, in doubt":        {p: recipientState{Progress: Progress{State: v1alpha1.StateInDoubt}}, notBefore: later, want: StepAsk},
		"scheduled, stored":          {p: recipientState{Progress: Progress{State: v1alpha1.StateStored}, row: row}, notBefore: later, want: StepRoute},
		"due":                        {p: recipientState{Progress: Progress{State: v1alpha1.StatePending}, checked: true}, notBefore: base, want: StepSend},
		"checked":                    {p: recipientState{Progress: Progress{State: v1alpha1.StatePending}, checked: true}, want: StepSend},
		"in doubt, checked":          {p: recipientState{Progress: Progress{State: v1alpha1.StateInDoubt}, checked: true}, want: StepAsk},
		"acknowledged":               {p: recipientState{Progress: Progress{State: v1alpha1.StateAcknowledged}, row: row}, want: StepReadBack},
		"acknowledged, no row":       {p: recipientState{Progress: Progress{State: v1alpha1.StateAcknowledged}}, noVerify: true, want: StepReadBack},
		"acknowledged, trusted":      {p: recipientState{Progress: Progress{State: v1alpha1.StateAcknowledged}, row: row}, noVerify: true, want: StepRoute},
		"stored":                     {p: recipientState{Progress: Progress{State: v1alpha1.StateStored}, row: row}, want: StepRoute},
		"stored by another process":  {p: recipientState{Progress: Progress{State: v1alpha1.StateStored}}, want: StepReadBack},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			env := envAt(base)
			env.Verify, env.NotBefore = !tc.noVerify, tc.notBefore
			got, until := nextStep(tc.p, env)
			if got != tc.want || !until.Equal(tc.wantUntil) {
				t.Errorf("step %d until %v, want %d until %v", got, until, tc.want, tc.wantUntil)
			}
			if got.isFinishing() != (got == StepReadBack || got == StepRoute) {
				t.Errorf("step %d finishing: %v", got, got.isFinishing())
			}
		})
	}
}

// TestAfterAsk: absence needs time, the whole history and live reads; lacking one of them, nothing is sent.
func TestAfterAsk(t *testing.T) {
	provable := base.Add(settle + lag)
	doubt := recipientState{Progress: Progress{State: v1alpha1.StateInDoubt, Reason: v1alpha1.ReasonNoAnswer, Message: msgNoAnswer, Attempts: 1, DoubtSince: base}, lastAttempt: base, checked: true}
	with := func(change func(*recipientState)) recipientState {
		p := doubt
		change(&p)
		return p
	}
	answered := with(func(p *recipientState) { p.answered, p.Reason, p.Message = true, v1alpha1.ReasonNotStored, msgUnread })
	old := with(func(p *recipientState) { p.DoubtSince, p.asked = base.Add(-InDoubtLimit), minAsked })
	unasked := with(func(p *recipientState) { p.DoubtSince, p.asked = base.Add(-InDoubtLimit), minAsked-1 })
	errLong := fmt.Errorf("wrapped: %w", dbproxy.ErrTooLong)
	cases := map[string]struct {
		p                      recipientState
		f                      SearchResult
		err                    error
		at                     time.Time
		wantState              v1alpha1.RecipientState
		wantReason, wantString string
		wantReady              bool
		wantTries              int32
	}{
		"found":                             {p: doubt, f: SearchResult{Row: row}, at: base, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonAdopted, wantString: msgAdopted},
		"found, after an id":                {p: answered, f: SearchResult{Row: row}, at: base, wantState: v1alpha1.StateStored},
		"found, too old to announce":        {p: doubt, f: SearchResult{Row: row}, at: base.Add(RouteAdoptedWithin + time.Second), wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted, wantString: msgAdoptedOld},
		"found beyond the limit":            {p: old, f: SearchResult{Row: row}, at: provable, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonAdopted, wantString: msgAdopted},
		"absent":                            {p: doubt, f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgLost, wantTries: 1},
		"absent, after an id":               {p: answered, f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonNotStored, wantString: msgNotStored, wantTries: 1},
		"absent, never sent":                {p: with(func(p *recipientState) { p.Attempts = 0 }), f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StatePending},
		"absent, of an earlier operator":    {p: with(func(p *recipientState) { p.takenOver, p.tries, p.checked = true, 3, false }), f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StatePending, wantTries: 3},
		"absent, beyond the limit":          {p: old, f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgLost, wantTries: 1},
		"absent, a moment too early":        {p: doubt, f: SearchResult{Conclusive: true}, at: provable.Add(-1), wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"not whole":                         {p: doubt, at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"failed":                            {p: doubt, f: SearchResult{Conclusive: true}, err: errLong, at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"failed, with a row":                {p: doubt, f: SearchResult{Row: row}, err: errLong, at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"not connected":                     {p: doubt, err: errNotSent, at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer, wantReady: true},
		"not connected, beyond the limit":   {p: old, err: errNotSent, at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer, wantReady: true},
		"limit":                             {p: old, at: provable, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown, wantString: msgUnknown},
		"limit, failed":                     {p: old, err: errLong, at: provable, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown, wantString: msgUnknown},
		"limit, hardly asked":               {p: unasked, err: errLong, at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"limit, before proof could be had":  {p: old, at: provable.Add(-1), wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"a moment before the limit":         {p: with(func(p *recipientState) { p.DoubtSince = provable.Add(1 - InDoubtLimit) }), at: provable, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantString: msgNoAnswer},
		"absent, retries used up":           {p: with(func(p *recipientState) { p.tries = 3 }), f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted, wantString: exhausted(msgLost), wantTries: 4},
		"absent, after an id, retries gone": {p: func() recipientState { p := answered; p.tries = 3; return p }(), f: SearchResult{Conclusive: true}, at: provable, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonRetriesExhausted, wantString: exhausted(msgNotStored), wantTries: 4},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := afterAsk(tc.p, tc.f, tc.err, tc.at, envAt(tc.at))
			wantProgress(t, p.Progress, tc.wantState, tc.wantReason)
			if p.Message != tc.wantString || p.waitReady != tc.wantReady || p.tries != tc.wantTries {
				t.Errorf("message %q, waitReady %v, tries %d", p.Message, p.waitReady, p.tries)
			}
			switch p.State {
			case v1alpha1.StateInDoubt:
				if p.DoubtSince != tc.p.DoubtSince || !p.Done() && !p.waitReady && !p.wakeAt.After(tc.at) {
					t.Errorf("in doubt since %v, again at %v", p.DoubtSince, p.wakeAt)
				}
				if tc.at.Before(provable) && p.wakeAt.After(provable) {
					t.Errorf("the first proof is missed: %v", p.wakeAt)
				}
			case v1alpha1.StatePending:
				// A message is checked again before a retry, if it was sent.
				if !p.DoubtSince.IsZero() || p.answered || p.checked && p.Attempts > 0 {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

// TestEarlierDoubtBacksOff: doubts about an earlier operator are searched for less often, and when absence can be proved.
func TestEarlierDoubtBacksOff(t *testing.T) {
	ended := base.Add(PeerPatience)
	for name, tc := range map[string]struct {
		p        recipientState
		at       time.Time
		min, max time.Duration // from at
	}{
		"of this operator": {recipientState{lastAttempt: base}, base, 50 * time.Millisecond, 100 * time.Millisecond},
		"the first time":   {recipientState{lastAttempt: ended}, base, time.Second, 2 * time.Second},
		"later":            {recipientState{lastAttempt: ended, asked: 3}, base, 8 * time.Second, 16 * time.Second},
		"before the proof": {
			recipientState{lastAttempt: ended, asked: 4}, ended.Add(-time.Second),
			time.Second + settle + lag, time.Second + settle + lag,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.p.State, tc.p.DoubtSince = v1alpha1.StateInDoubt, base
			p := afterAsk(tc.p, SearchResult{}, nil, tc.at, envAt(tc.at))
			if wait := p.wakeAt.Sub(tc.at); wait < tc.min || wait > tc.max {
				t.Errorf("asked again after %v, want %v to %v", wait, tc.min, tc.max)
			}
		})
	}
}

func exhausted(last string) string { return "gave up after retryLimit, nothing stored; last: " + last }

func TestAfterSend(t *testing.T) {
	m := dbproxy.Message{From: bot, To: alice, CreateTime: 77, Type: wire.MsgType_MSG_TYPE_SINGLE_TEXT, Data: []byte("x")}
	cases := map[string]struct {
		id                      uint32
		err                     error
		wantState               v1alpha1.RecipientState
		wantReason, wantMessage string
		wantAttempts            int32
	}{
		"an id":         {id: 5, wantState: v1alpha1.StateAcknowledged, wantAttempts: 1},
		"id 0":          {wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonStoreRejected, wantMessage: msgRejected, wantAttempts: 1},
		"unknown id":    {id: wire.MsgIDUnknown, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgCounter, wantAttempts: 1},
		"not sent":      {err: errNotSent, wantState: v1alpha1.StatePending, wantReason: v1alpha1.ReasonServerNotReady, wantMessage: msgNotConnected},
		"no answer":     {err: dbproxy.ErrNoAnswer, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgNoAnswer, wantAttempts: 1},
		"lost":          {err: dbproxy.ErrConnectionLost, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgNoAnswer, wantAttempts: 1},
		"malformed":     {err: dbproxy.ErrMalformed, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgNoAnswer, wantAttempts: 1},
		"anything else": {id: 5, err: errors.New("10.0.0.1: reset"), wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgNoAnswer, wantAttempts: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := afterSend(recipientState{Progress: Progress{State: v1alpha1.StatePending}, checked: true}, m, tc.id, tc.err, envAt(base))
			wantProgress(t, p.Progress, tc.wantState, tc.wantReason)
			if p.Message != tc.wantMessage || p.Attempts != tc.wantAttempts {
				t.Errorf("message %q, %d attempts", p.Message, p.Attempts)
			}
			if sent := tc.wantAttempts > 0; sent != p.lastAttempt.Equal(base) || sent != (p.CreateTime == 77) {
				t.Errorf("sent by %v, create_time %d", p.lastAttempt, p.CreateTime)
			}
			if p.State == v1alpha1.StateInDoubt && !p.DoubtSince.Equal(base) {
				t.Errorf("in doubt since %v", p.DoubtSince)
			}
			if p.State == v1alpha1.StateAcknowledged && (p.MessageID != 5 || p.row.GetMsgId() != 5 || string(p.row.GetMsgData()) != "x") {
				t.Errorf("id %d, row %v", p.MessageID, p.row)
			}
		})
	}
}

func TestAfterReadBack(t *testing.T) {
	acknowledged := recipientState{Progress: Progress{State: v1alpha1.StateAcknowledged, MessageID: 9}}
	storedBefore := recipientState{Progress: Progress{State: v1alpha1.StateStored, MessageID: 9}}
	late := storedBefore
	late.routeSince = base.Add(-RouteTimeout)
	cases := map[string]struct {
		p                       recipientState
		row                     *wire.MsgInfo
		err                     error
		wantState               v1alpha1.RecipientState
		wantReason, wantMessage string
		wantReady, wantAnswered bool
	}{
		"there":                      {p: acknowledged, row: row, wantState: v1alpha1.StateStored},
		"not there":                  {p: acknowledged, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgUnread, wantAnswered: true},
		"failed":                     {p: acknowledged, err: dbproxy.ErrNoAnswer, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgUnread, wantAnswered: true},
		"not connected":              {p: acknowledged, err: errNotSent, wantState: v1alpha1.StateInDoubt, wantReason: v1alpha1.ReasonNoAnswer, wantMessage: msgUnread, wantAnswered: true, wantReady: true},
		"stored before, there":       {p: storedBefore, row: row, wantState: v1alpha1.StateStored},
		"stored before, not there":   {p: storedBefore, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonServerNotReady, wantMessage: msgWaitRouter},
		"stored before, failed":      {p: storedBefore, err: errNotSent, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonServerNotReady, wantMessage: msgWaitRouter},
		"stored before, for so long": {p: late, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted, wantMessage: msgNotRouted},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := afterReadBack(tc.p, Task{}, tc.row, tc.err, envAt(base))
			wantProgress(t, p.Progress, tc.wantState, tc.wantReason)
			if p.Message != tc.wantMessage || p.waitReady != tc.wantReady || p.answered != tc.wantAnswered {
				t.Errorf("message %q, waitReady %v, answered %v", p.Message, p.waitReady, p.answered)
			}
		})
	}
}

func TestAfterRoute(t *testing.T) {
	adopted := recipientState{Progress: Progress{State: v1alpha1.StateStored, Reason: v1alpha1.ReasonAdopted, Message: msgAdopted}}
	waiting := recipientState{Progress: Progress{State: v1alpha1.StateStored, Reason: v1alpha1.ReasonServerNotReady, Message: msgWaitRouter}, routeSince: base.Add(-time.Minute)}
	late := recipientState{Progress: Progress{State: v1alpha1.StateStored}, routeSince: base.Add(-RouteTimeout)}
	errRouter := errors.New("gone")
	cases := map[string]struct {
		p                       recipientState
		err                     error
		wantState               v1alpha1.RecipientState
		wantReason, wantMessage string
	}{
		"taken":          {p: waiting, wantState: v1alpha1.StateRouted},
		"adopted, taken": {p: adopted, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted, wantMessage: msgAdopted},
		"adopted, not":   {p: adopted, err: errRouter, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonAdopted, wantMessage: msgAdopted},
		"not taken":      {p: waiting, err: errRouter, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonServerNotReady, wantMessage: msgWaitRouter},
		"too late":       {p: late, err: errRouter, wantState: v1alpha1.StateStored, wantReason: v1alpha1.ReasonStoredNotRouted, wantMessage: msgNotRouted},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := afterRoute(tc.p, tc.err, envAt(base))
			wantProgress(t, p.Progress, tc.wantState, tc.wantReason)
			if p.Message != tc.wantMessage || (tc.err == nil) != p.RoutedAt.Equal(base) {
				t.Errorf("message %q, routed at %v", p.Message, p.RoutedAt)
			}
		})
	}
}

// TestStable: repeated retries have the same message each time.
func TestStable(t *testing.T) {
	cases := map[string]func(recipientState, error, environment) recipientState{
		"rejected": func(p recipientState, _ error, env environment) recipientState {
			return afterSend(p, dbproxy.Message{}, 0, nil, env)
		},
		"silent": func(p recipientState, err error, env environment) recipientState {
			return afterSend(p, dbproxy.Message{}, 0, err, env)
		},
		"asked": func(p recipientState, err error, env environment) recipientState {
			return afterAsk(p, SearchResult{}, err, env.now, env)
		},
		"directory": func(p recipientState, err error, env environment) recipientState {
			return afterPreflight(p, DirectorySnapshot{}, err, bot, env)
		},
		"outage": func(p recipientState, _ error, env environment) recipientState {
			return afterPreflight(p, DirectorySnapshot{At: env.now}, nil, bot, env)
		},
		"routed": afterRoute,
		"read": func(p recipientState, err error, env environment) recipientState {
			p.State = v1alpha1.StateAcknowledged
			return afterReadBack(p, Task{}, nil, err, env)
		},
	}
	for name, step := range cases {
		t.Run(name, func(t *testing.T) {
			first := step(recipientState{Progress: Progress{Recipient: toAlice, State: v1alpha1.StatePending, DoubtSince: base}}, errors.New("first"), envAt(base))
			second := step(first, errors.New("second"), envAt(base.Add(10*time.Second)))
			if first.State != second.State || first.Reason != second.Reason || first.Message != second.Message {
				t.Errorf("%s %q %q, then %s %q %q", first.State, first.Reason, first.Message, second.State, second.Reason, second.Message)
			}
			if len([]rune(exhausted(first.Message))) > v1alpha1.MaxRecipientMessage {
				t.Errorf("message too long: %q", first.Message)
			}
		})
	}
}
