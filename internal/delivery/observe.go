package delivery

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Observer is told of every step that has been taken. It is called from many
// goroutines at once, without locks held, and must not block.
type Observer interface {
	Observe(StepEvent)
}

// Observers are told one after the other.
type Observers []Observer

// Observe implements Observer.
func (o Observers) Observe(t StepEvent) {
	for _, each := range o {
		each.Observe(t)
	}
}

// StepEvent is one step of one recipient, and what it changed.
type StepEvent struct {
	Message types.NamespacedName
	UID     types.UID
	Server  types.NamespacedName
	// Sender is who it is from, to TeamTalk.
	Sender uint32
	// Accepted is when the engine took the message on.
	Accepted time.Time
	Step     Step
	// Began and Ended are by this process's clock.
	Began, Ended  time.Time
	Before, After Progress
}

// observe tells the observer of a step.
func (e *Engine) observe(t *task, step Step, began time.Time, before, after Progress) {
	if e.Observer == nil {
		return
	}
	spec := t.current()
	e.Observer.Observe(StepEvent{
		Message: spec.Key, UID: spec.UID, Server: spec.ServerKey, Sender: spec.Sender, Accepted: t.accepted,
		Step: step, Began: began, Ended: time.Now(), Before: before, After: after,
	})
}

// Retry returns the reason for which the recipient is tried again; "": it is not.
func (t StepEvent) Retry() string {
	if t.After.tries == t.Before.tries || t.After.Done() {
		return ""
	}
	return t.After.Reason
}

// Adopted reports whether the store was found to hold the message already.
func (t StepEvent) Adopted() bool {
	return t.Step == StepAsk && t.After.State == v1alpha1.StateStored
}

// SilentDrop reports whether the store was proved not to hold what db_proxy had
// given an id for.
func (t StepEvent) SilentDrop() bool {
	return t.Step == StepAsk && t.Before.answered && t.After.tries > t.Before.tries
}

// Stored returns how long it took from the engine's taking the message on until
// the store was seen to hold it; false: this step did not show that.
func (t StepEvent) Stored() (time.Duration, bool) {
	if !t.Before.StoredAt.IsZero() || t.After.StoredAt.IsZero() {
		return 0, false
	}
	return t.After.StoredAt.Sub(t.Accepted), true
}

// Routed returns how long it took from then until a router took the message, its
// first part where it has several; false: this step did not bring it to one.
func (t StepEvent) Routed() (time.Duration, bool) {
	if t.After.State != v1alpha1.StateRouted || t.Step != StepRoute || t.After.StoredAt.IsZero() || len(t.After.Earlier) > 0 {
		return 0, false
	}
	return t.After.RoutedAt.Sub(t.After.StoredAt), true
}

// DoubtEnd says how a doubt has ended.
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

// DoubtEnds are all ways in which doubts end.
var DoubtEnds = []DoubtEnd{DoubtFound, DoubtAbsent, DoubtUnknown}

// Settled returns how long the recipient was in doubt and how that has ended;
// false: it was not, or still is. A first question about a key is no doubt:
// nothing is known to have been sent.
func (t StepEvent) Settled() (time.Duration, DoubtEnd, bool) {
	if t.Before.State != v1alpha1.StateInDoubt || t.Before.unseenKey || t.After.State == v1alpha1.StateInDoubt {
		return 0, "", false
	}
	end := DoubtAbsent
	switch {
	case t.After.State == v1alpha1.StateStored, t.After.Reason == v1alpha1.ReasonKeyReused:
		end = DoubtFound
	case t.After.Reason == v1alpha1.ReasonOutcomeUnknown:
		end = DoubtUnknown
	}
	return t.Ended.Sub(t.Before.DoubtSince), end, true
}

// String names the step, in the words of metrics and traces.
func (s Step) String() string {
	switch s {
	case StepPreflight:
		return "preflight"
	case StepAsk:
		return "ask"
	case StepSend:
		return "send"
	case StepReadBack:
		return "read_back"
	case StepRoute:
		return "route"
	case StepExpire:
		return "expire"
	case StepWait, StepWaitReady:
		return "wait"
	}
	return "done"
}

// Load is what the engine has under way at one moment.
type Load struct {
	// Recipients that are not done, by state.
	Recipients map[v1alpha1.RecipientState]int
	// Conversations that something is under way in, and the recipients that wait
	// for their turn in one.
	Conversations, Waiting int
}

// Load counts what is under way.
func (e *Engine) Load() Load {
	l := Load{Recipients: map[v1alpha1.RecipientState]int{}}
	e.mu.Lock()
	tasks := make([]*task, 0, len(e.tasks))
	for _, t := range e.tasks {
		tasks = append(tasks, t)
	}
	e.mu.Unlock()
	for _, t := range tasks {
		t.mu.Lock()
		for _, p := range t.recipients {
			switch {
			case p.Done():
			case p.unseenKey:
				// Only asked for because of its key: nothing is known to have been sent.
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

// Probe passes through the engine's locks, and so does not return while one of
// them is stuck.
func (e *Engine) Probe() { _ = e.Load() }
