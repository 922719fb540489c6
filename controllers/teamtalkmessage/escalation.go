// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// An escalation is delivered as a message of its own: see TeamTalkMessage.Escalation. It has a key and a UID of its own
// in the engine, and its status is a part of the message's. That it has begun is recorded before anything is sent, as
// the creation of a message is. The message has finished, so the cache does not hold it.

// reconcileEscalation delivers the escalation of a message.
func (r *Reconciler) reconcileEscalation(
	ctx context.Context, key, message types.NamespacedName,
) (reconcile.Result, error) {
	m := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(ctx, message, m); client.IgnoreNotFound(err) != nil {
		return reconcile.Result{}, fmt.Errorf("read a message that is escalated: %w", err)
	}
	e := m.Escalation()
	o := delivery.Object{Key: key, ResourceVersion: m.ResourceVersion, Finished: !m.Escalating()}
	if m.UID != "" {
		o.UID = e.UID
	}
	r.Engine.Sync(o)
	switch {
	case o.Finished:
		r.escalating.Delete(key)
		r.forget(key)
		return reconcile.Result{}, nil
	case !m.DeletionTimestamp.IsZero():
		r.escalating.Delete(key)
		r.Engine.Queue.Done(e.UID)
		return r.recordDeleted(ctx, newEscalationScope(m, e, leadership.Term{Clean: true}, time.Now()))
	}
	r.escalating.Store(key, e)
	r.Engine.Queue.Add(queueMessage(e))
	addStaged(r.Engine, e)
	return r.reconcileScope(ctx, e, func(term leadership.Term) *scope {
		return newEscalationScope(m, e, term, time.Now())
	})
}

// newEscalationScope resumes the escalation e of a message from its status.
func newEscalationScope(m, e *v1alpha1.TeamTalkMessage, term leadership.Term, now time.Time) *scope {
	s := &scope{message: e, escalated: m, now: now, term: term, revision: m.Status.Revision(), text: e.Status.Text}
	if isRevised(m) {
		s.origin = originSuperseded
	}
	// When it began is of the clock of some operator: it says nothing of the term.
	created := *e
	created.CreationTimestamp.Reset()
	s.earlierUntil = earlierUntil(term, &created)
	s.resume()
	return s
}

// runEscalation is runPhases of an escalation.
func (r *Reconciler) runEscalation(ctx context.Context, s *scope) (outcome, error) {
	if s.origin == originSuperseded {
		if s.failSuperseded(); s.unfinished() == 0 {
			return done, nil
		}
		return r.endFormerRevision(ctx, s)
	}
	return runUntilEnded(ctx, s, r.deliveryPhases()...)
}

// checkResolved refuses what was not sent of an escalation whose alerts are resolved.
func checkResolved(s *scope) outcome {
	if s.isEscalation() && isStopped(s.escalated) {
		s.refuseAll(s.refuse, v1alpha1.ReasonAlertResolved, msgAlertResolved)
	}
	return proceed
}

// waitsAlone reports whether a recipient of an escalation waits for its TeamTalkGroup while others are sent to. The
// status must not say that the escalation waits: that would prove that nothing is sent, see WaitsUnsent.
func (s *scope) waitsAlone(p *delivery.Progress) bool {
	return s.isEscalation() && p.Ref != "" && slices.ContainsFunc(s.recipients, func(other delivery.Progress) bool {
		return other.Resolved() && !other.Done()
	})
}

// object returns the resource that the scope is of.
func (s *scope) object() *v1alpha1.TeamTalkMessage {
	if s.escalated != nil {
		return s.escalated
	}
	return s.message
}

// isEscalation reports whether the scope is of an escalation.
func (s *scope) isEscalation() bool { return s.escalated != nil }

// writeEscalation writes the status of an escalation into that of its message. The message is read again before each
// write, so an answer that is lost costs a conflict at most.
func (r *Reconciler) writeEscalation(ctx context.Context, s *scope) (bool, error) {
	before, after := s.escalated, s.escalated.DeepCopy()
	applyEscalation(after, s.message)
	if equality.Semantic.DeepEqual(before.Status, after.Status) {
		return false, nil
	}
	if err := r.Live.Status().Update(ctx, after); err != nil {
		return true, err //nolint:wrapcheck // record distinguishes its kinds
	}
	s.escalated = after
	return true, nil
}

// wakeEscalation enqueues the escalation of a message that has just begun, or is to be looked at.
func (r *Reconciler) wakeEscalation(m *v1alpha1.TeamTalkMessage) {
	r.Wake.Wake(v1alpha1.EscalationKey(client.ObjectKeyFromObject(m)))
}

// escalationBegan is called after the write that records that an escalation begins: no other operator sends it.
func (r *Reconciler) escalationBegan(m *v1alpha1.TeamTalkMessage, term leadership.Term) {
	if e := escalationEvent(m); e.reason != "" {
		r.Recorder.Eventf(m, nil, e.kind, e.reason, "Escalate", "%s", e.note)
	}
	r.escalationContinues(m, term)
}

// escalationContinues is called after the write that records that an escalation begins, or is tried again after its
// end: no other operator sends it.
func (r *Reconciler) escalationContinues(m *v1alpha1.TeamTalkMessage, term leadership.Term) {
	key := v1alpha1.EscalationKey(client.ObjectKeyFromObject(m))
	r.fresh.Store(key, freshMessage{m.Escalation().UID, term.Local})
	r.wakeEscalation(m)
}

// escalations returns the keys of the escalations under way that are selected, and gives those that wait their places
// in the queue.
func (r *Reconciler) escalations(isSelected func(*v1alpha1.TeamTalkMessage) bool) (keys []types.NamespacedName) {
	r.escalating.Range(func(key, e any) bool {
		if m := e.(*v1alpha1.TeamTalkMessage); isSelected(m) {
			if !r.Engine.Knows(m.UID) {
				r.Engine.Queue.Requeue(m.UID)
			}
			keys = append(keys, key.(types.NamespacedName))
		}
		return true
	})
	return keys
}

func sendsThrough(server types.NamespacedName) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool { return m.ServerKey() == server }
}

func isIn(namespace string) func(*v1alpha1.TeamTalkMessage) bool {
	return func(m *v1alpha1.TeamTalkMessage) bool { return m.Namespace == namespace }
}

func escalationRequests(keys []types.NamespacedName) []reconcile.Request {
	requests := make([]reconcile.Request, len(keys))
	for i, key := range keys {
		requests[i].NamespacedName = key
	}
	return requests
}

// resolveEscalation looks up who is in escalateTo together with the names in to, so that the status shows early who
// would get the message. It does not wait for what has no id yet: that is looked up again when the escalation begins.
func (r *Reconciler) resolveEscalation(ctx context.Context, s *scope) (outcome, error) {
	to := s.message.EscalateTo()
	if s.isEscalation() || s.underWay() || !to.HasNames() || s.message.Status.Escalated() {
		return proceed, nil
	}
	e := &scope{message: s.message.Escalation(), escalated: s.message, now: s.now, server: s.server}
	e.recipients = escalationRecipients(s.message)
	before := len(e.untried(true)) + len(e.untried(false))
	for _, ref := range e.untried(true) {
		result, why, err := r.findRef(ctx, e, ref)
		if err != nil {
			return proceed, err
		}
		if why != nil {
			result.Cause = *why
		}
		e.applyNames([]v1alpha1.Recipient{ref}, []delivery.NameResult{result})
	}
	if names := e.untried(false); len(names) > 0 {
		key := client.ObjectKeyFromObject(s.message)
		answer := r.Engine.ResolveNames(delivery.NameQuery{
			Requester: nameRequester(key), Wake: func() { r.Wake.Wake(key) },
			Server: s.session, ServerKey: s.serverKey(), Sender: s.sender,
			ReplicaLag: delivery.PolicyOf(s.server, 0).ReplicaLag, Names: names,
		})
		switch {
		case answer.Results != nil:
			e.applyNames(names, answer.Results)
		case answer.Waiting == nil:
			return requeue(0), nil // TeamTalk is being asked
		}
	}
	if len(e.untried(true))+len(e.untried(false)) == before {
		return proceed, nil
	}
	s.escalateTo = e.recipients
	return recordFirst, nil
}

// untried returns the recipients that were not looked up yet: references, or names.
func (s *scope) untried(refs bool) (untried []v1alpha1.Recipient) {
	for _, p := range s.recipients {
		if !p.Resolved() && p.Reason == "" && (p.Ref != "") == refs {
			untried = append(untried, p.Recipient)
		}
	}
	return untried
}
