package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
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
	// StepExpire ends what the deadline has come for.
	StepExpire
)

// Next decides what to do for a recipient at the time now; for StepWait it
// returns until when.
func Next(p Progress, pol Policy, now time.Time) (Step, time.Time) {
	switch {
	case p.Done():
		return StepDone, time.Time{}
	case p.pastExpiry(pol, now):
		return StepExpire, time.Time{}
	case p.waitReady:
		return StepWaitReady, time.Time{}
	case now.Before(p.wakeAt) && !p.needsFinalSearch(pol, now):
		until := p.wakeAt
		if !pol.Deadline.IsZero() && pol.Deadline.Before(until) && pol.Deadline.After(now) {
			until = pol.Deadline
		}
		return StepWait, until
	}
	switch p.State {
	case v1alpha1.StateStored:
		if p.row == nil {
			// Stored by an earlier process: what is routed is read from the store.
			return StepReadBack, time.Time{}
		}
		return StepRoute, time.Time{}
	case v1alpha1.StateAcknowledged:
		if pol.Verify || p.row == nil {
			return StepReadBack, time.Time{}
		}
		return StepRoute, time.Time{}
	case v1alpha1.StateInDoubt:
		if p.unseenKey && p.asked > 0 && !p.checked {
			// The store shows nothing where nothing can be sent; the directory says so.
			return StepPreflight, time.Time{}
		}
		return StepAsk, time.Time{}
	}
	if now.Before(pol.NotBefore) {
		return StepWait, pol.NotBefore
	}
	if !p.checked {
		return StepPreflight, time.Time{}
	}
	return StepSend, time.Time{}
}

// expiresAt returns when nothing more is tried for the recipient as it stands;
// zero: its deadline, if there is one, is no reason to stop. What may have been
// sent is asked for at least once when an answer can prove its absence, unless
// there is nobody to ask.
func (p Progress) expiresAt(pol Policy) time.Time {
	switch {
	case pol.Deadline.IsZero():
	case p.State == v1alpha1.StatePending:
		return pol.Deadline
	case p.State == v1alpha1.StateInDoubt && p.waitReady:
		if proof := p.lastAttempt.Add(pol.proofAfter()); proof.After(pol.Deadline) {
			return proof
		}
		return pol.Deadline
	}
	return time.Time{}
}

// needsFinalSearch reports whether a doubt is to be asked about once more, because the
// deadline has come since it was last.
func (p Progress) needsFinalSearch(pol Policy, now time.Time) bool {
	return p.State == v1alpha1.StateInDoubt && pol.deadlinePassed(now) && p.askedAt.Before(pol.Deadline)
}

func (p Progress) pastExpiry(pol Policy, now time.Time) bool {
	at := p.expiresAt(pol)
	return !at.IsZero() && !now.Before(at)
}

// starting reports whether a step leads to something being sent: what may not be
// sent takes none of these.
func (s Step) starting() bool { return s == StepPreflight || s == StepSend }

// finishing reports whether a step only completes what has been sent: a drain
// lets it happen, and nothing else.
func (s Step) finishing() bool { return s == StepReadBack || s == StepRoute }
