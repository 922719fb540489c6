// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// phase is one step of a reconciliation.
type phase func(context.Context, *scope) (outcome, error)

// check returns a phase for a decision without I/O.
func check(decide func(*scope) outcome) phase {
	return func(_ context.Context, s *scope) (outcome, error) { return decide(s), nil }
}

// outcome is the result of a phase.
type outcome struct {
	action action
	// cause is the cause for which the message waits, or nil. A watch wakes the message.
	cause *v1alpha1.Cause
	// after is the time until the message is reconciled again. If it is 0, that is at its schedule or deadline.
	after time.Duration
	// keepsPlace is true if younger messages must not overtake it. It is reconciled again soon, or together with all
	// messages of its server.
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
	// actionRecordDue writes the status if more than the progress changes, or if a write of the progress is due. Each
	// write wakes the message, so without a limit the next progress would be written immediately.
	actionRecordDue
	// actionLeave does not write the status.
	actionLeave
)

var (
	// proceed continues with the next phase.
	proceed = outcome{}
	// done records the status: nothing is left to do for the remaining phases.
	done = outcome{action: actionRecord}
	// submitted means that the engine has accepted the message. It soon reports the end of the delivery.
	submitted = outcome{action: actionLeave}
	// underWay means that the engine continues with the message.
	underWay = outcome{action: actionRecordDue}
	// notTaken means that the engine drains, or is about to report that the task has ended.
	notTaken = outcome{action: actionRecordProgress}
	// recordFirst means that the status must be written before anything is sent. The write wakes the message.
	recordFirst = outcome{action: actionRecord, keepsPlace: true}
	// leave means that another operator records the message. The claim of its server wakes it.
	leave = outcome{action: actionLeave, keepsPlace: true}
	// stale means that the event of a newer version will wake the message.
	stale = outcome{action: actionLeave, keepsPlace: true}
)

// waitFor records the cause for which the message waits.
func waitFor(reason, message string) outcome {
	return outcome{action: actionRecord, cause: &v1alpha1.Cause{Reason: reason, Message: message}}
}

// waitForServer is waitFor for messages that can all continue at the same time, in order.
func waitForServer(reason, message string) outcome {
	o := waitFor(reason, message)
	o.keepsPlace = true
	return o
}

// requeue reconciles the message again after a time. If it is 0, an event wakes the message.
func requeue(after time.Duration) outcome {
	return outcome{action: actionRecordProgress, after: after, keepsPlace: true}
}

// checkDeadline fails recipients to which nothing was sent before the deadline. If the message may have been sent, the
// engine still searches for it, and fails the recipient.
func checkDeadline(s *scope) outcome {
	if s.expired() && !s.underWay() && !s.asksFirst() {
		for i, p := range s.recipients {
			switch {
			case p.Done():
			case !p.Resolved():
				s.refuse(i, v1alpha1.ReasonDeadlineExceeded, msgDeadlineName)
			case len(p.Earlier) > 0:
				s.refuse(i, v1alpha1.ReasonDeadlineExceeded, delivery.MsgDeadlineSegment)
			default:
				s.refuse(i, v1alpha1.ReasonDeadlineExceeded, delivery.MsgDeadline)
			}
		}
	}
	return proceed
}

// checkSuspended stops a message while it is suspended. At its deadline the store is searched for segments that were
// sent.
func checkSuspended(s *scope) outcome {
	if s.message.Suspended() && !s.expired() {
		return waitFor(v1alpha1.ReasonSuspended, "spec.suspend is true: nothing is sent")
	}
	return proceed
}

// resolveServer reads the server and checks that the message's namespace may use it.
func (r *Reconciler) resolveServer(ctx context.Context, s *scope) (outcome, error) {
	server, err := tenancy.FindServer(ctx, r.Client, s.message.ServerKey(), s.message.Namespace)
	if missing, ok := errors.AsType[*tenancy.NotFoundError](err); ok {
		return waitFor(v1alpha1.ReasonServerNotFound, missing.Error()), nil
	}
	if err == nil && (!s.claimed || !r.Claims.Holds(client.ObjectKeyFromObject(server), server.UID)) {
		return requeue(0), nil // it was just created, and its controller wakes the message
	}
	s.server = server
	return proceed, err
}

// checkEarlierDoubts drops the doubt about an earlier operator if the server never had delivery tokens. A message
// without a token is staged before it is sent, so the operator sent nothing.
func checkEarlierDoubts(s *scope) outcome {
	unedited := s.server.Generation == 1 && !s.server.CreationTimestamp.After(s.object().CreationTimestamp.Time)
	if !s.earlierUntil.IsZero() && s.snapshot == nil && !isStaged(s.message) && unedited && !s.server.DeliveryTokens() {
		s.dropEarlierDoubts()
	}
	return proceed
}

// checkSender selects the sender. A message in progress keeps its sender.
func checkSender(s *scope) outcome {
	if s.allSubmitted() {
		return proceed
	}
	id := s.server.Spec.Senders.Default
	switch {
	case s.underWay():
		id = v1alpha1.UserID(s.sender)
	case s.message.Spec.SenderID != nil:
		id = *s.message.Spec.SenderID
	case s.origin == originRevision && s.sender != 0:
		id = v1alpha1.UserID(s.sender)
	case s.message.Status.SenderID != nil && !s.startsOver():
		// Another server may have replaced it. Sent messages are found in the conversations of the former sender.
		id = *s.message.Status.SenderID
	}
	s.sender = uint32(id)
	if cause := s.server.Spec.Senders.Check(id); cause != nil {
		s.refuseNew(cause.Reason, cause.Message)
	}
	return proceed
}

// checkRecipients refuses the recipients that can be checked without the directory.
func checkRecipients(s *scope) outcome {
	if s.allSubmitted() {
		return proceed
	}
	for i, p := range s.recipients {
		switch {
		case p.Done(), !p.Resolved(), s.isSubmitted(p):
		case p.Type == v1alpha1.RecipientUser && p.ID == s.sender:
			s.refuseNow(i, v1alpha1.ReasonSendToSelf,
				fmt.Sprintf("user %d is the sender: TeamTalk stores no message to oneself", p.ID))
		case !s.server.Spec.Recipients.Permits(p.Type, int64(p.ID)):
			s.refuse(i, v1alpha1.ReasonRecipientNotPermitted,
				fmt.Sprintf("the server's recipients rules exclude %s %d", strings.ToLower(string(p.Type)), p.ID))
		}
	}
	return proceed
}

// checkIdempotencyKey refuses messages that need a delivery token if the server has none: those with a key, and those
// identified by their name.
func checkIdempotencyKey(s *scope) outcome {
	if s.allSubmitted() || s.tokens() {
		return proceed
	}
	spec := s.message.Spec
	switch {
	case spec.IdempotencyKey != "":
		s.refuseNew(v1alpha1.ReasonContentInvalid,
			"the server's deliveryToken is Disabled, and an idempotencyKey needs it: remove the key, or enable it")
	case s.message.Resends():
		s.refuseNew(v1alpha1.ReasonContentInvalid,
			"the server's deliveryToken is Disabled, and onChange: Resend needs it: set Reject, or enable the token")
	case !s.message.IdentifiedByName():
	case spec.Content.Audio != nil:
		s.refuseNew(v1alpha1.ReasonContentInvalid,
			"audio has no delivery token, so a message that is created again would be sent again: "+
				"remove ttlSecondsAfterFinished")
	default:
		s.refuseNew(v1alpha1.ReasonContentInvalid,
			"the server's deliveryToken is Disabled; ttlSecondsAfterFinished needs it: remove it, or enable the token")
	}
	return proceed
}

// checkSchedule stops a message until its sendAfter if nothing was sent, unless it will never be sent.
func checkSchedule(s *scope) outcome {
	if s.now.Before(s.message.ScheduledFor()) && !s.begun() && !s.allRefused() {
		return waitFor(v1alpha1.ReasonScheduled, "waits for spec.sendAfter")
	}
	return proceed
}

// requireAESKey waits for the server's session and its AES key. The engine waits for connections.
func (r *Reconciler) requireAESKey(_ context.Context, s *scope) (outcome, error) {
	if refusal := endpointRefusal(s.server); refusal != nil {
		message := refusal.Message
		if s.server.Namespace != s.message.Namespace {
			message = fmt.Sprintf("TeamTalkServer %q names an endpoint that is not permitted: ask its owner", s.server.Name)
		}
		return waitForServer(refusal.Reason, message), nil
	}
	session, ok := r.Sessions.Get(client.ObjectKeyFromObject(s.server))
	if ok && session.Keys().Current != nil {
		s.session = session
		return proceed, nil
	}
	if !s.underWay() && (!ok || s.server.Status.ObservedGeneration != s.server.Generation) {
		return requeue(0), nil // the server's controller has not reconciled it yet, and will wake the message
	}
	c := meta.FindStatusCondition(s.server.Status.Conditions, v1alpha1.ConditionKeyLoaded)
	switch {
	case c == nil || c.Status != metav1.ConditionFalse:
		return waitForServer(v1alpha1.ReasonServerNotReady,
			fmt.Sprintf("TeamTalkServer %q is not ready yet", s.server.Name)), nil
	case s.server.Namespace != s.message.Namespace:
		// Do not reveal Secrets of another namespace.
		return waitForServer(c.Reason,
			fmt.Sprintf("TeamTalkServer %q has no usable key: ask its owner", s.server.Name)), nil
	}
	return waitForServer(c.Reason, c.Message), nil
}

// endpointRefusal returns the condition Ready of a server that cannot connect because of its endpoints, or nil.
func endpointRefusal(server *v1alpha1.TeamTalkServer) *metav1.Condition {
	ready := meta.FindStatusCondition(server.Status.Conditions, v1alpha1.ConditionReady)
	isCurrent := ready != nil && ready.ObservedGeneration == server.Generation
	if isCurrent && ready.Reason == v1alpha1.ReasonEndpointNotPermitted {
		return ready
	}
	return nil
}

// stageCreateTime assigns the createTime of a message without a token. The status must record it before a send. Each
// message to a recipient has another second.
func (r *Reconciler) stageCreateTime(s *scope) outcome {
	// A message that waits for its payload in the engine is sent as soon as it has the payload.
	mayBeSent := s.payload.Data != nil || s.payloadPending != nil || s.underWay()
	if s.allSubmitted() || !mayBeSent || s.tokens() {
		return proceed
	}
	next := proceed
	for i := range s.recipients {
		p := &s.recipients[i]
		// No operator sends to a recipient before it is staged, so one without a recorded attempt was not sent to.
		unsent := p.State == v1alpha1.StatePending || p.State == v1alpha1.StateInDoubt && p.Attempts == 0
		if unsent && p.CreateTime == 0 && p.Resolved() && !s.isSubmitted(*p) {
			earliest := time.Unix(max(s.now.Unix(), s.message.CreationTimestamp.Unix()), 0)
			p.CreateTime = r.Engine.Stage(s.serverKey(), s.sender, p.Recipient, earliest)
			next = recordFirst
		}
	}
	return next
}

// submit submits the message to the engine, or updates it there. A status that proves that nothing was sent is replaced
// first.
func (r *Reconciler) submit(_ context.Context, s *scope) (outcome, error) {
	waits := s.payloadPending == nil && s.message.Status.WaitsUnsent() // without its payload, nothing is sent
	if waits || s.origin == originRevision {
		return recordFirst, nil
	}
	snapshot, ok := r.Engine.Submit(taskOf(s))
	switch {
	case !ok:
		return notTaken, nil
	case !snapshot.Running || s.payloadPending != nil || !statusFits(s.message):
		return done, nil
	case s.onlyEarlierDoubts():
		wait := s.earlierDoubtsShown().Sub(s.now)
		if wait <= 0 {
			return done, nil
		}
		if key := client.ObjectKeyFromObject(s.message); !s.underWay() {
			// With RequeueAfter, the workqueue would not keep the order in which messages end.
			time.AfterFunc(wait, func() { r.Wake.Wake(key) })
		}
		return submitted, nil
	case s.underWay():
		return underWay, nil
	case s.begun():
		return done, nil
	}
	return submitted, nil
}

// taskOf returns the task of the message for the engine.
func taskOf(s *scope) delivery.Task {
	policy := delivery.PolicyOf(s.server, *s.message.Spec.RetryLimit)
	policy.Deadline, policy.NotBefore = s.message.DeadlineTime(), s.message.ScheduledFor()
	if s.origin == originSuperseded {
		s.endSuperseded(&policy)
	}
	task := delivery.Task{
		Key: client.ObjectKeyFromObject(s.message), UID: s.message.UID,
		Identity: s.identity(),
		Server:   s.session, ServerKey: s.serverKey(),
		Sender: s.sender, Payload: s.payload, Token: s.tokens(),
		// The text of a former revision with several segments is recorded.
		Split:          s.message.Spec.LongText == v1alpha1.LongTextSplit && s.origin != originSuperseded,
		Policy:         policy,
		Order:          s.order,
		Recipients:     s.resolved(),
		Refusals:       s.refusals,
		Renewal:        s.underWay(),
		PayloadPending: s.payloadPending != nil || s.textChanged || s.origin == originSuperseded,
		EarlierUntil:   s.earlierUntil, FromPriorTerm: !s.earlierUntil.IsZero(),
	}
	if task.Identity.Keyed() && task.Token {
		task.Since = s.now.Add(-time.Duration(s.server.Spec.IdempotencyWindowSeconds) * time.Second)
		if until := earlierTermUntil(s.term); until.After(task.EarlierUntil) {
			task.EarlierUntil = until
		}
	}
	return task
}

// statusFits reports whether the status remains true while the message is sent, so that it need not be written.
func statusFits(m *v1alpha1.TeamTalkMessage) bool {
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	// A message that was not admitted has no recipients in its status. The engine soon reports its actual cause for
	// waiting.
	waited := ready != nil && ready.Reason == v1alpha1.ReasonServerNotReady && len(m.Status.Recipients) == 0
	return ready == nil || ready.Reason == v1alpha1.ReasonSending || waited
}
