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
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// checkDeadline fails what the deadline came for. What may have been sent is asked
// for all the same.
func (r *Reconciler) checkDeadline(_ context.Context, s *scope) error {
	if s.expired() && !s.known {
		s.refuseAll(v1alpha1.ReasonDeadlineExceeded, "the deadline came before it was sent; nothing was stored")
	}
	return nil
}

// checkSuspended keeps a message from going on while it is suspended.
func (r *Reconciler) checkSuspended(_ context.Context, s *scope) error {
	if s.message.Suspended() {
		s.wait, s.onPurpose = &v1alpha1.Cause{Reason: v1alpha1.ReasonSuspended, Message: "spec.suspend is true: nothing is sent"}, true
	}
	return nil
}

// checkSchedule keeps a message of which nothing was sent until its time.
func (r *Reconciler) checkSchedule(_ context.Context, s *scope) error {
	if s.now.Before(s.message.ScheduledFor()) && !s.begun() {
		s.wait, s.onPurpose = &v1alpha1.Cause{Reason: v1alpha1.ReasonScheduled, Message: "waits for spec.sendAfter"}, true
	}
	return nil
}

// checkKey refuses a key that could not be found again. A message with a TTL has
// one, its name: without, each time that a tool creates it again would send it.
func (r *Reconciler) checkKey(_ context.Context, s *scope) error {
	if s.known || s.tokens() {
		return nil
	}
	spec := s.message.Spec
	switch {
	case spec.IdempotencyKey != "":
		s.refuseAll(v1alpha1.ReasonContentInvalid,
			"the server's deliveryToken is Disabled, and an idempotencyKey needs it: remove the key, or enable it")
	case spec.TTLSecondsAfterFinished != nil && spec.Content.Audio != nil:
		s.refuseAll(v1alpha1.ReasonContentInvalid,
			"audio cannot be told from a repeat once it is deleted: remove ttlSecondsAfterFinished")
	case spec.TTLSecondsAfterFinished != nil:
		s.refuseAll(v1alpha1.ReasonContentInvalid,
			"the server's deliveryToken is Disabled; ttlSecondsAfterFinished needs it: remove it, or enable the token")
	}
	return nil
}

// resolveServer finds the server and whether the message's namespace may use it.
// Both failures look the same: what a namespace may not use does not exist for it.
func (r *Reconciler) resolveServer(ctx context.Context, s *scope) error {
	key := s.message.ServerKey()
	server, err := tenancy.FindServer(ctx, r.Client, key, s.message.Namespace)
	if missing, ok := errors.AsType[*tenancy.NotFoundError](err); ok {
		s.wait = &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotFound, Message: missing.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	s.server, s.serverKey = server, key
	return nil
}

// checkSender settles whom the message speaks as. What has been taken on goes on.
func (r *Reconciler) checkSender(_ context.Context, s *scope) error {
	id := s.server.Spec.Senders.Default
	switch {
	case s.known:
		id = v1alpha1.UserID(s.sender)
	case s.message.Spec.SenderID != nil:
		id = *s.message.Spec.SenderID
	case s.message.Status.SenderID != nil && !s.restart:
		// The server may have been replaced by one with another default: what was
		// sent is found in the conversations of who sent it.
		id = *s.message.Status.SenderID
	}
	s.sender = uint32(id)
	if cause := s.server.Spec.Senders.Check(id); cause != nil && !s.known {
		s.refuseAll(cause.Reason, cause.Message)
	}
	return nil
}

// checkRecipients settles what no directory needs to be asked for.
func (r *Reconciler) checkRecipients(_ context.Context, s *scope) error {
	for i, p := range s.recipients {
		switch {
		case s.known || p.Done():
		case p.Type == v1alpha1.RecipientUser && p.ID == s.sender:
			s.refuse(i, v1alpha1.ReasonSendToSelf,
				fmt.Sprintf("user %d is the sender: TeamTalk stores no message to oneself", p.ID))
		case !s.server.Spec.Recipients.Permits(p.Type, int64(p.ID)):
			s.refuse(i, v1alpha1.ReasonRecipientNotPermitted,
				fmt.Sprintf("the server's recipients rules exclude %s %d", strings.ToLower(string(p.Type)), p.ID))
		}
	}
	return nil
}

// requireKey waits for the server's session and key. A connection that is down
// is the engine's to wait for.
func (r *Reconciler) requireKey(_ context.Context, s *scope) error {
	session, ok := r.Sessions.Get(client.ObjectKeyFromObject(s.server))
	if ok && session.Keys().Current != nil {
		s.session = session
		return nil
	}
	if !s.known && (!ok || s.server.Status.ObservedGeneration != s.server.Generation) {
		s.later = true // the server's own controller comes first, and wakes us then
		return nil
	}
	s.wait = &v1alpha1.Cause{Reason: v1alpha1.ReasonServerNotReady, Message: fmt.Sprintf("TeamTalkServer %q is not ready yet", s.server.Name)}
	if c := meta.FindStatusCondition(s.server.Status.Conditions, v1alpha1.ConditionKeyLoaded); c != nil && c.Status == metav1.ConditionFalse {
		s.wait = &v1alpha1.Cause{Reason: c.Reason, Message: c.Message}
		if s.server.Namespace != s.message.Namespace {
			// Another namespace's Secrets are not this user's to know.
			s.wait.Message = fmt.Sprintf("TeamTalkServer %q has no usable key: ask its owner", s.server.Name)
		}
	}
	return nil
}

// resolveContent makes the payload. A delivery under way keeps the one it has.
func (r *Reconciler) resolveContent(ctx context.Context, s *scope) error {
	if s.known && !s.held {
		return nil
	}
	payload, bad, err := r.payload(ctx, s)
	switch {
	case bad != nil && err != nil && s.begun():
		// What may have been sent is asked for, and announced, without it.
		s.hold = bad
	case bad != nil && err != nil:
		s.wait = bad
	case err != nil:
		return err
	case bad != nil:
		s.refuseAll(bad.Reason, bad.Message)
	}
	s.payload = payload
	s.pinParts(bad == nil)
	// Known without the sound itself: what is looked for among the rows is audio.
	s.payload.Audio = s.message.Spec.Content.Audio != nil
	return nil
}

// stage gives what carries no token its time, which is written to the status
// before anything is sent: it is how the message is found again.
func (r *Reconciler) stage(_ context.Context, s *scope) error {
	if s.known || s.payload.Data == nil || s.tokens() {
		return nil
	}
	now := max(time.Now().Unix(), s.message.CreationTimestamp.Unix())
	for i, p := range s.recipients {
		// What no attempt is on record for was not sent before it was staged, by
		// whichever operator.
		unsent := p.State == v1alpha1.StatePending || p.State == v1alpha1.StateInDoubt && p.Attempts == 0
		if unsent && p.CreateTime == 0 {
			s.recipients[i].CreateTime = uint32(now)
			s.staged = true
		}
	}
	return nil
}

// deliver hands the message to the engine, or renews what it knows of it.
func (r *Reconciler) deliver(_ context.Context, s *scope) error {
	policy := delivery.PolicyOf(s.server, *s.message.Spec.RetryLimit)
	policy.Deadline, policy.NotBefore = s.message.DeadlineTime(), s.message.ScheduledFor()
	task := delivery.Task{
		Key: client.ObjectKeyFromObject(s.message), UID: s.message.UID, Generation: s.message.Generation,
		Identity: identity(s.message),
		Server:   s.session, ServerKey: s.serverKey, Stores: s.server.DBProxyAddresses(),
		Sender: s.sender, Payload: s.payload, Token: s.tokens(), Split: s.message.Spec.LongText == v1alpha1.LongTextSplit,
		Policy:         policy,
		Order:          s.order(),
		Recipients:     s.recipients,
		Refusals:       s.refusals,
		Renewal:        s.known,
		PayloadPending: s.hold != nil,
		EarlierUntil:   s.earlierUntil, FromPriorTerm: !s.earlierUntil.IsZero(),
	}
	if task.Identity.Keyed() && task.Token {
		task.Since = s.now.Add(-time.Duration(s.server.Spec.IdempotencyWindowSeconds) * time.Second)
		task.EarlierUntil = lastHeard(s.term)
	}
	snapshot, ok := r.Engine.Submit(task)
	if !ok {
		s.later = true // the engine drains, or tells presently that the task has ended
		return nil
	}
	s.quiet = !s.known && snapshot.Running && s.hold == nil && !s.begun() && unsaid(s.message)
	return nil
}

// unsaid reports whether the status says nothing that would be untrue while the
// message is sent.
func unsaid(m *v1alpha1.TeamTalkMessage) bool {
	ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady)
	return ready == nil || ready.Reason == v1alpha1.ReasonScheduled
}

// identity is what makes the message one message.
func identity(m *v1alpha1.TeamTalkMessage) delivery.Identity {
	if key := m.IdempotencyKey(); key != "" {
		return delivery.Identity{Namespace: m.Namespace, Key: key}
	}
	return delivery.Identity{UID: m.UID}
}

// earlierUntil is until when another operator may still be sending the message;
// zero where none can.
func earlierUntil(term leadership.Term, m *v1alpha1.TeamTalkMessage) time.Time {
	if term.Clean || m.CreationTimestamp.After(term.Start.Time) || m.NeverDueBefore(term.Start.Time) {
		return time.Time{}
	}
	return lastHeard(term)
}

// lastHeard is until when the operator before this one may have been sending.
func lastHeard(term leadership.Term) time.Time {
	if term.Clean {
		return term.Local
	}
	return term.Local.Add(delivery.PeerPatience)
}
