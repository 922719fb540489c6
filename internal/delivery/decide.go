// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Step is the next action of the engine for a recipient.
type Step int

// Steps, in the order of a delivery without failures.
const (
	// StepDone: nothing more.
	StepDone Step = iota
	// StepWait: nothing before a time.
	StepWait
	// StepWaitReady: nothing before db_proxy is connected.
	StepWaitReady
	// StepWaitRouter: the message is stored, and nothing is done before a router is connected.
	StepWaitRouter
	// StepPreflight looks up sender and recipient in the directory.
	StepPreflight
	// StepAsk searches the store for an earlier attempt.
	StepAsk
	// StepSend sends to db_proxy.
	StepSend
	// StepReadBack reads the message by its id.
	StepReadBack
	// StepRoute hands the stored message to a router.
	StepRoute
	// StepExpire ends a recipient that has reached its deadline.
	StepExpire
)

// environment holds the inputs of a decision other than the recipient's state.
type environment struct {
	Policy
	now time.Time
	// jitter returns a duration of at most the one given.
	jitter func(time.Duration) time.Duration
}

// checks decide the next step. The first one that applies is used.
var checks = []struct {
	applies func(recipientState, environment) bool
	step    Step
}{
	{isDone, StepDone},
	{hasExpired, StepExpire},
	{needsConnection, StepWaitReady},
	{needsRouter, StepWaitRouter},
	{isBackingOff, StepWait},
	{needsVerification, StepReadBack},
	{needsRow, StepReadBack},
	{isStored, StepRoute},
	{needsDirectoryInDoubt, StepPreflight},
	{isInDoubt, StepAsk},
	{isScheduled, StepWait},
	{needsPreflight, StepPreflight},
	{isReadyToSend, StepSend},
}

// nextStep returns the next step for a recipient. For StepWait it also returns the time until which to wait.
func nextStep(p recipientState, env environment) (step Step, until time.Time) {
	for _, check := range checks {
		if check.applies(p, env) {
			if step = check.step; step == StepWait {
				until = p.waitsUntil(env)
			}
			break
		}
	}
	return step, until
}

func isDone(p recipientState, _ environment) bool { return p.Done() }

func hasExpired(p recipientState, env environment) bool {
	expiry := p.expiresAt(env.Policy)
	return !expiry.IsZero() && !env.now.Before(expiry)
}

func needsConnection(p recipientState, _ environment) bool { return p.waitReady }

func needsRouter(p recipientState, _ environment) bool { return p.waitRouter }

// isBackingOff is false for a doubt that is searched for again at its deadline.
func isBackingOff(p recipientState, env environment) bool {
	lastSearch := p.State == v1alpha1.StateInDoubt && env.deadlinePassed(env.now) && p.askedAt.Before(env.Deadline)
	return env.now.Before(p.wakeAt) && !lastSearch
}

func needsVerification(p recipientState, env environment) bool {
	return p.State == v1alpha1.StateAcknowledged && env.Verify
}

// needsRow is true for a message that an earlier process sent: the row to route is read from the store.
func needsRow(p recipientState, env environment) bool { return isStored(p, env) && p.row == nil }

func isStored(p recipientState, _ environment) bool {
	return p.State == v1alpha1.StateStored || p.State == v1alpha1.StateAcknowledged
}

// needsDirectoryInDoubt reports whether a doubt needs the directory. The store shows no rows if nothing can be sent,
// and the directory tells whether that is so. It is no evidence about messages of other resources, so a search for a
// key must have been answered before.
func needsDirectoryInDoubt(p recipientState, env environment) bool {
	if !isInDoubt(p, env) || p.checked {
		return false
	}
	return p.unseenKey && p.answeredSearch || !p.unseenKey && p.Type == v1alpha1.RecipientGroup && p.asked > 0
}

func isInDoubt(p recipientState, _ environment) bool { return p.State == v1alpha1.StateInDoubt }

func isScheduled(_ recipientState, env environment) bool { return env.now.Before(env.NotBefore) }

func needsPreflight(p recipientState, _ environment) bool { return !p.checked }

func isReadyToSend(recipientState, environment) bool { return true }

// waitsUntil returns the end of a backoff or of the time until the schedule. A deadline ends a backoff.
func (p recipientState) waitsUntil(env environment) time.Time {
	switch {
	case !isBackingOff(p, env):
		return env.NotBefore
	case env.Deadline.After(env.now) && env.Deadline.Before(p.wakeAt):
		return env.Deadline
	}
	return p.wakeAt
}

// expiresAt returns the time from which the engine does not retry the recipient in its state. It is zero if there is no
// limit. A doubt is searched for at least once after absence can be proved, unless there is no connection.
func (p recipientState) expiresAt(pol Policy) time.Time {
	switch {
	case p.State == v1alpha1.StatePending:
		return earlier(pol.SupersededAt, pol.Deadline)
	case pol.Deadline.IsZero():
	case p.State == v1alpha1.StateInDoubt && p.waitReady:
		return later(pol.Deadline, p.provableAt(pol))
	}
	return time.Time{}
}

// isFinishing reports whether a step completes a message that was sent. A draining engine executes no other steps.
func (s Step) isFinishing() bool { return s == StepReadBack || s == StepRoute }

// begins reports whether a step needs the payload. Searches for a doubt do not.
func (s Step) begins(p recipientState) bool {
	return (s == StepPreflight || s == StepSend) && p.State != v1alpha1.StateInDoubt
}

// mayFail reports whether a recipient that is refused fails now: with the conversation, or when its time is over.
func (s Step) mayFail(acquired bool) bool { return acquired || s == StepExpire }

// canYield reports whether older messages may go first.
func (s Step) canYield() bool { return s == StepWait || s == StepSend || s == StepRoute }

// earlier returns the earlier of two times, of which the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
