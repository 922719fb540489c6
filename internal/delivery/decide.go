package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/rule"
)

// Step is what to do next for a recipient.
type Step int

// Steps, in the order in which a plain delivery takes them.
const (
	// StepDone: nothing more.
	StepDone Step = iota
	// StepWait: nothing before the returned time.
	StepWait
	// StepWaitReady: nothing before db_proxy is connected.
	StepWaitReady
	// StepPreflight asks the directory for sender and recipient.
	StepPreflight
	// StepAsk asks the store whether an earlier attempt reached it.
	StepAsk
	// StepSend sends to db_proxy.
	StepSend
	// StepReadBack reads the message by its id.
	StepReadBack
	// StepRoute hands the stored message to a router.
	StepRoute
)

// Next decides what to do for a recipient at the time now; for StepWait it
// returns until when.
func Next(p Progress, pol Policy, now time.Time) (Step, time.Time) {
	switch {
	case p.Done():
		return StepDone, time.Time{}
	case p.waitReady:
		return StepWaitReady, time.Time{}
	case now.Before(p.wakeAt):
		return StepWait, p.wakeAt
	}
	switch p.State {
	case v1alpha1.StateStored:
		if p.row == nil {
			// Stored by an earlier process: what is routed is read from the store.
			return StepReadBack, time.Time{}
		}
		return StepRoute, time.Time{}
	case v1alpha1.StateAcknowledged:
		if pol.Verify && rule.ReadBack || p.row == nil {
			return StepReadBack, time.Time{}
		}
		return StepRoute, time.Time{}
	case v1alpha1.StateInDoubt:
		return StepAsk, time.Time{}
	}
	if !p.checked {
		return StepPreflight, time.Time{}
	}
	return StepSend, time.Time{}
}

// starting reports whether a step leads to something being sent: what may not be
// sent takes none of these.
func (s Step) starting() bool { return s == StepPreflight || s == StepSend }

// finishing reports whether a step only completes what has been sent: a drain
// lets it happen, and nothing else.
func (s Step) finishing() bool { return s == StepReadBack || s == StepRoute }
