package teamtalkmessage

import (
	"context"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// phase is one step of a reconciliation.
type phase func(context.Context, *scope) (outcome, error)

// check makes a phase of a decision that needs no I/O.
func check(decide func(*scope) outcome) phase {
	return func(_ context.Context, s *scope) (outcome, error) { return decide(s), nil }
}

// outcome is what follows a phase.
type outcome struct {
	action action
	// cause is what the message waits for, if it waits. A watch wakes the message.
	cause *v1alpha1.Cause
	// after is when the message is reconciled again unless it is woken before; 0: when
	// its schedule or deadline comes.
	after time.Duration
	// keepsPlace: younger messages of its conversations must not pass it. It is reconciled
	// again soon, or with all others of its server.
	keepsPlace bool
}

type action int

const (
	// actionContinue runs the next phase.
	actionContinue action = iota
	// actionRecord writes the status.
	actionRecord
	// actionRecordProgress writes the status only if the engine knows the message.
	actionRecordProgress
	// actionLeave does not write the status.
	actionLeave
)

var (
	// proceed goes on with the next phase.
	proceed = outcome{}
	// done: nothing is left to do for the remaining phases.
	done = outcome{action: actionRecord}
	// submitted: the engine has taken the message on. It soon tells how the delivery ends.
	submitted = outcome{action: actionLeave}
	// notTaken: the engine drains, or is about to tell that the task has ended.
	notTaken = outcome{action: actionRecordProgress}
	// recordFirst: the status must be written before anything is sent. The write wakes the message.
	recordFirst = outcome{action: actionRecord, keepsPlace: true}
	// stale: a newer version of the message is on its way here, and wakes it.
	stale = outcome{action: actionLeave, keepsPlace: true}
)

// waitFor records what the message waits for.
func waitFor(reason, message string) outcome {
	return outcome{action: actionRecord, cause: &v1alpha1.Cause{Reason: reason, Message: message}}
}

// waitForServer is waitFor of messages that can all go on at the same time, in order.
func waitForServer(reason, message string) outcome {
	o := waitFor(reason, message)
	o.keepsPlace = true
	return o
}

// requeue has the message reconciled again after a time; 0: when it is woken.
func requeue(after time.Duration) outcome {
	return outcome{action: actionRecordProgress, after: after, keepsPlace: true}
}
