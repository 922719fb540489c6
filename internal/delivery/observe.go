// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Observer observes every step, from many goroutines and without locks held. It must not block.
type Observer interface {
	Observe(StepEvent)
}

// Observers are called one after the other.
type Observers []Observer

// Observe implements Observer.
func (o Observers) Observe(s StepEvent) {
	for _, each := range o {
		each.Observe(s)
	}
}

// StepEvent is one step of one recipient, and what it changed.
type StepEvent struct {
	Message types.NamespacedName
	UID     types.UID
	Server  types.NamespacedName
	// Role is that of the recipient.
	Role Role
	// Sender is the TeamTalk user that the message is from.
	Sender uint32
	// Accepted is when the engine accepted the message.
	Accepted time.Time
	Step     Step
	// Began and Ended are by this process's clock.
	Began, Ended  time.Time
	Before, After Progress
	// TryFailed: the step counts against the policy's RetryLimit.
	TryFailed bool
	// Answered: before, db_proxy had returned an id that the store did not show.
	Answered bool
	// UnseenKey is true if nothing was known to have been sent before.
	UnseenKey bool
}

// observe passes a step to the observer.
func (e *Engine) observe(t *task, step Step, began time.Time, before, after recipientState) {
	if e.Observer == nil {
		return
	}
	spec := t.current()
	e.Observer.Observe(StepEvent{
		Message: spec.Key, UID: spec.UID, Server: spec.ServerKey, Role: spec.Identity.Role, Sender: spec.Sender,
		Accepted: t.accepted,
		Step:     step, Began: began, Ended: time.Now(), Before: before.Progress, After: after.Progress,
		TryFailed: after.tries > before.tries, Answered: before.answered, UnseenKey: before.unseenKey,
	})
}

// Retry returns the reason for which the recipient is retried, or "".
func (s StepEvent) Retry() string {
	if !s.TryFailed || s.After.Done() {
		return ""
	}
	return s.After.Reason
}

// Adopted reports whether the store was found to hold the message already.
func (s StepEvent) Adopted() bool {
	return s.Step == StepAsk && s.After.State == v1alpha1.StateStored
}

// SilentDrop reports whether db_proxy had returned an id for a message that is proved not to be stored.
func (s StepEvent) SilentDrop() bool {
	return s.Step == StepAsk && s.Answered && s.TryFailed
}

// Stored returns the time from Accepted until the store showed the message. It returns false for other steps.
func (s StepEvent) Stored() (time.Duration, bool) {
	if !s.Before.StoredAt.IsZero() || s.After.StoredAt.IsZero() {
		return 0, false
	}
	return s.After.StoredAt.Sub(s.Accepted), true
}

// Routed returns the time from then until a router accepted the message or its first segment. It returns false for
// other steps.
func (s StepEvent) Routed() (time.Duration, bool) {
	routed := s.Step == StepRoute && s.After.State == v1alpha1.StateRouted
	if !routed || s.After.StoredAt.IsZero() || len(s.After.Earlier) > 0 {
		return 0, false
	}
	return s.After.RoutedAt.Sub(s.After.StoredAt), true
}

// DoubtEnd is how a doubt has ended.
type DoubtEnd string

// How doubts end.
const (
	// DoubtFound: the store holds the message.
	DoubtFound DoubtEnd = "found"
	// DoubtAbsent: it is proved not to.
	DoubtAbsent DoubtEnd = "absent"
	// DoubtUnknown: neither could be proved in time.
	DoubtUnknown DoubtEnd = "unknown"
)

// DoubtEnds are all values of DoubtEnd.
var DoubtEnds = []DoubtEnd{DoubtFound, DoubtAbsent, DoubtUnknown}

// Settled returns how long the recipient was in doubt, and the result. It returns false if it was not in doubt, or
// still is. A first search for a key is not a doubt: nothing is known to have been sent.
func (s StepEvent) Settled() (time.Duration, DoubtEnd, bool) {
	if s.Before.State != v1alpha1.StateInDoubt || s.UnseenKey || s.After.State == v1alpha1.StateInDoubt {
		return 0, "", false
	}
	end := DoubtAbsent
	switch {
	case s.After.State == v1alpha1.StateStored, s.After.Reason == v1alpha1.ReasonKeyReused:
		end = DoubtFound
	case s.After.Reason == v1alpha1.ReasonOutcomeUnknown:
		end = DoubtUnknown
	}
	return s.Ended.Sub(s.Before.DoubtSince), end, true
}

var stepNames = [...]string{
	StepDone: "done", StepWait: "wait", StepWaitReady: "wait", StepWaitRouter: "wait",
	StepPreflight: "preflight", StepAsk: "ask", StepSend: "send", StepReadBack: "read_back",
	StepRoute: "route", StepExpire: "expire",
}

// String names the step in metrics and traces.
func (s Step) String() string { return stepNames[s] }

// Load is how much the engine has to do at one moment.
type Load struct {
	// Recipients that are not done, by state.
	Recipients map[v1alpha1.RecipientState]int
	// Conversations that are held, and the recipients that wait for one.
	Conversations, Waiting int
}

// Load counts recipients in progress.
func (e *Engine) Load() Load {
	l := Load{Recipients: map[v1alpha1.RecipientState]int{}}
	e.mu.Lock()
	tasks := slices.Collect(maps.Values(e.tasks))
	e.mu.Unlock()
	for _, t := range tasks {
		t.mu.Lock()
		for _, p := range t.recipients {
			switch {
			case p.Done():
			case p.unseenKey:
				// It is searched for because of its key. Nothing is known to have been sent.
				l.Recipients[v1alpha1.StatePending]++
			default:
				l.Recipients[p.State]++
			}
		}
		t.mu.Unlock()
	}
	l.Conversations, l.Waiting = e.Queue.Count()
	return l
}

// Probe acquires the engine's locks: it does not return while one of them is stuck.
func (e *Engine) Probe() { _ = e.Load() }
