// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"reflect"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// earlierDoubtGrace is how long after absence can be proved a doubt about an earlier operator is recorded.
const earlierDoubtGrace = 10 * time.Second

// scope is the state that the phases of one reconciliation share. newScope sets the fields up to recipients.
type scope struct {
	// message is a copy that record changes. Phases only read it.
	message *v1alpha1.TeamTalkMessage
	// escalated is the message whose escalation this is. It is nil for a message.
	escalated *v1alpha1.TeamTalkMessage
	term      leadership.Term
	// now is when the reconciliation began.
	now time.Time
	// origin is changed by adopt, beginRevision and retryFailed.
	origin origin
	// revision is the number of the one that the recipients are of, from 1. beginRevision changes it.
	revision int32
	// former are the recipients of the revision that beginRevision has ended. keepsContent: its content is the same.
	former       []delivery.Progress
	keepsContent bool
	// revisionRecorded: the status shows the revision that beginRevision has begun. Set by record.
	revisionRecorded bool
	// earlierUntil is the time until which another operator may be sending the message, or zero.
	earlierUntil time.Time
	// text identifies the text from a ConfigMap that may be in the store. It is nil if none is recorded. recordText
	// changes it.
	text *v1alpha1.RecordedText
	// recipients are in the order of the spec. They begin as the status or, after adopt, the snapshot has them.
	// Phases refuse them, stage their times and end their doubts.
	recipients []delivery.Progress
	// recorded are the recipients as newScope has resumed them from the status, if earlierUntil is set.
	recorded []delivery.Progress

	// claimed is true if this process may send through the server. The term is that of the claim. Set before the phases
	// run.
	claimed bool
	// order is the message's place in its conversations. Set before the phases run.
	order queue.Order
	// snapshot is the engine's progress. It is nil if the engine does not have the message. Set by adopt.
	snapshot *delivery.Snapshot
	// late are recipients that the engine does not have, while it has others; see findLate. Set by adopt.
	late []v1alpha1.Recipient
	// server is set by resolveServer, where the message's namespace may use it.
	server *v1alpha1.TeamTalkServer
	// sender is the snapshot's, or set by checkSender. It is 0 if not known.
	sender uint32
	// session is set by requireAESKey.
	session *connection.Session
	// omitRecipients: nothing is known of any recipient, and thousands of such messages may wait. Set by admit.
	omitRecipients bool
	// source is the content of a ConfigMap. Set by loadContent. Then makePayload sets it to the text of any content: of an
	// escalation, to that without the first line.
	source []byte
	// escalateTo holds the new results of resolveEscalation, or nil.
	escalateTo []delivery.Progress
	// payloadPending is why the payload of a begun message is not known yet. Set by loadContent.
	payloadPending *v1alpha1.Cause
	// payload is set by makePayload, and completed by recordText.
	payload delivery.Payload
	// textChanged: the payload is left out until the store shows what became of the recorded text. Set by recordText.
	textChanged bool
	// refusals are of recipients that are in doubt or under way. The engine applies them instead of sending.
	// Set by refuse.
	refusals map[v1alpha1.Recipient]v1alpha1.Cause
}

// origin tells from which state a reconciliation begins.
type origin int

const (
	// originStatus: from the state in its status.
	originStatus origin = iota
	// originEdit: it had finished with nothing stored, and was edited.
	originEdit
	// originRetry: it had finished, and its failed recipients are retried.
	originRetry
	// originSuperseded: it was edited with onChange: Resend, and its former revision has not ended.
	originSuperseded
	// originRevision: it was edited with onChange: Resend, and its former revision has ended.
	originRevision
)

// newScope resumes a message from its status, or starts it again after an edit with nothing stored. After an edit with
// onChange: Resend, the recipients are those of the former revision until beginRevision.
func newScope(m *v1alpha1.TeamTalkMessage, term leadership.Term, now time.Time) *scope {
	s := &scope{message: m, term: term, now: now, earlierUntil: earlierUntil(term, m), revision: m.Status.Revision()}
	switch {
	case isRevised(m):
		s.origin = originSuperseded
	case startsAgain(m):
		s.origin = originEdit
	}
	if s.origin != originEdit {
		s.text = m.Status.Text
	}
	s.resume()
	return s
}

// resume sets the recipients from the status.
func (s *scope) resume() {
	recorded := map[v1alpha1.Recipient]v1alpha1.RecipientStatus{}
	if s.origin != originEdit {
		for _, r := range s.message.Status.Recipients {
			recorded[r.Recipient()] = r
		}
	}
	s.recipients, s.recorded = nil, nil
	for _, r := range s.recipientList() {
		p := progressOf(r, recorded[r])
		if !s.earlierUntil.IsZero() && s.origin != originEdit && r.Resolved() {
			p = p.FromPriorTerm(s.now)
		}
		s.recipients = append(s.recipients, p)
	}
	if !s.earlierUntil.IsZero() {
		s.recorded = slices.Clone(s.recipients)
	}
}

// dropEarlierDoubts resumes a message that no earlier operator is sending.
func (s *scope) dropEarlierDoubts() {
	s.earlierUntil = time.Time{}
	s.resume()
}

// startsAgain reports whether an edit of a message that has finished with nothing stored makes it another one.
func startsAgain(m *v1alpha1.TeamTalkMessage) bool {
	return m.Status.ObservedGeneration != m.Generation && m.Status.CompletionTime != nil && m.Status.NothingStored() &&
		m.Status.SpecDigest != specDigest(m)
}

// progressOf reads a recipient's progress back from its status; the zero status is of a new recipient.
func progressOf(r v1alpha1.Recipient, status v1alpha1.RecipientStatus) delivery.Progress {
	p := delivery.Progress{
		Recipient: r, State: status.State, Reason: status.Reason, Message: status.Message, Attempts: status.Attempts,
		EarlierReason: status.EarlierReason, EarlierMessage: status.EarlierMessage, FormerID: uint32(status.FormerMessageID),
		DoubtSince: ptr.Deref(status.InDoubtSince, metav1.Time{}).Time,
		StoredAt:   ptr.Deref(status.StoredAt, metav1.Time{}).Time,
		RoutedAt:   ptr.Deref(status.RoutedAt, metav1.Time{}).Time,
		ReadAt:     ptr.Deref(status.ReadAt, metav1.Time{}).Time, ReadBy: status.ReadBy,
	}
	if r.Resolved() {
		p.ByName, p.ByRef = status.Name, status.Ref
	}
	earlier := status.MessageIDs
	switch p.State {
	case "":
		p.State = v1alpha1.StatePending
	case v1alpha1.StateAcknowledged, v1alpha1.StateStored, v1alpha1.StateRouted:
		// The last id is that of the current segment.
		if n := len(earlier); n > 0 {
			p.MessageID, earlier = uint32(earlier[n-1]), earlier[:n-1]
		}
	}
	for _, id := range earlier {
		p.Earlier = append(p.Earlier, uint32(id))
	}
	if status.CreateTime != nil {
		p.CreateTime = uint32(status.CreateTime.Unix())
	}
	return p
}

// isBeforeEdit reports whether the snapshot is only of the message before an edit that starts it again.
func (s *scope) isBeforeEdit(snapshot delivery.Snapshot) bool {
	notFailed := func(p delivery.Progress) bool { return p.State != v1alpha1.StateFailed }
	return s.origin == originEdit && !snapshot.Running && !slices.ContainsFunc(snapshot.Recipients, notFailed)
}

// adopt copies the engine's progress of the message. It is newer than the status in the cache.
func (s *scope) adopt(snapshot delivery.Snapshot) {
	if s.origin == originEdit {
		s.origin = originStatus
	}
	if s.origin == originStatus && !snapshot.SupersededAt.IsZero() {
		s.origin = originSuperseded // the edit was taken back
	}
	s.snapshot, s.sender = &snapshot, snapshot.Sender
	if s.message.Spec.To.HasNames() || s.origin == originSuperseded {
		s.recipients = withNames(s.recipients, snapshot.Recipients)
		s.findLate()
		return
	}
	for i, p := range snapshot.Recipients {
		if p.CreateTime == 0 && len(s.recipients) == len(snapshot.Recipients) {
			// It was staged since: the status has its time, but the engine does not.
			snapshot.Recipients[i].CreateTime = s.recipients[i].CreateTime
		}
	}
	s.recipients = snapshot.Recipients
}

// acceptedAt is when the engine accepted the message, or now.
func (s *scope) acceptedAt() time.Time {
	if s.snapshot != nil && s.origin != originRevision && s.snapshot.Accepted.Before(s.now) {
		return s.snapshot.Accepted
	}
	return s.now
}

// startsOver reports whether an edit has made it another message, of which nothing is recorded.
func (s *scope) startsOver() bool { return s.origin == originEdit || s.origin == originRevision }

// underWay reports whether the engine has the message. A task that was stopped and has ended does not count, nor does
// that of a former revision.
func (s *scope) underWay() bool {
	return s.snapshot != nil && s.origin != originRevision && (!s.snapshot.Stopped || s.snapshot.Running)
}

// running reports whether a request of the message may be in flight.
func (s *scope) running() bool { return s.snapshot != nil && s.snapshot.Running }

// serverKey names the server, once it is known to exist.
func (s *scope) serverKey() types.NamespacedName {
	switch {
	case s.server != nil:
		return client.ObjectKeyFromObject(s.server)
	case s.snapshot != nil:
		return s.snapshot.ServerKey
	}
	return types.NamespacedName{}
}

// tokens reports whether the message has delivery tokens. A message that was begun without tokens continues without.
func (s *scope) tokens() bool {
	begunWithout := !s.startsOver() && slices.ContainsFunc(s.message.Status.Recipients,
		func(r v1alpha1.RecipientStatus) bool { return r.CreateTime != nil })
	return s.message.Spec.Content.Audio == nil && !begunWithout && (s.server == nil || s.server.DeliveryTokens())
}

// begun reports whether something may have been sent to a recipient that is not done.
func (s *scope) begun() bool {
	return slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
		return !p.Done() && p.State != v1alpha1.StatePending
	})
}

// untouched reports whether no recipient has anything to record.
func (s *scope) untouched() bool {
	return len(s.message.Status.Recipients) == 0 && s.snapshot == nil &&
		!slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
			return !reflect.DeepEqual(p, delivery.Progress{Recipient: p.Recipient, State: v1alpha1.StatePending})
		})
}

// onlyEarlierDoubts reports whether the status lacks only doubts about an earlier operator.
func (s *scope) onlyEarlierDoubts() bool {
	return !s.earlierUntil.IsZero() && slices.EqualFunc(s.recorded, s.recipients, func(a, b delivery.Progress) bool {
		a.DoubtSince = b.DoubtSince
		return reflect.DeepEqual(a, b)
	})
}

// earlierDoubtsShown is from when the status shows doubts about an earlier operator. Most have been settled by then. To
// record hundreds at the beginning of a term would delay what is found, and new messages, by seconds. The engine has
// them, and a drain records them.
func (s *scope) earlierDoubtsShown() time.Time {
	policy := delivery.PolicyOf(s.server, 0)
	return s.earlierUntil.Add(policy.Settle + policy.ReplicaLag + earlierDoubtGrace)
}

// unfinished counts the recipients that are not done.
func (s *scope) unfinished() (n int) {
	for _, p := range s.recipients {
		if !p.Done() {
			n++
		}
	}
	return n
}

// expired reports whether the message's deadline has come.
func (s *scope) expired() bool {
	d := s.message.DeadlineTime()
	return !d.IsZero() && !s.now.Before(d)
}

// untilDue returns the time until the next of schedule and deadline, or 0.
func (s *scope) untilDue() time.Duration {
	var next time.Duration
	for _, at := range []time.Time{s.message.ScheduledFor(), s.message.DeadlineTime()} {
		if d := at.Sub(s.now); d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	return next
}

// asksFirst reports whether the store is searched before the status tells an outcome: another resource with the same
// identity may have sent the message.
func (s *scope) asksFirst() bool {
	return s.message.MayBeRepeated() && s.tokens()
}

// refuse stops sending to a recipient. It fails immediately, or when the store proves that nothing was sent.
func (s *scope) refuse(i int, reason, message string) {
	switch {
	case !s.asksFirst():
		s.refuseNow(i, reason, message)
	case s.recipients[i].Resolved():
		s.refuseUnsent(s.recipients[i].Recipient, reason, message)
	default: // once its name is resolved
	}
}

// refuseNow is refuse for a message that no resource can have sent.
func (s *scope) refuseNow(i int, reason, message string) {
	if p := &s.recipients[i]; p.State == v1alpha1.StatePending && !s.isSubmitted(*p) {
		p.State, p.Reason, p.Message = v1alpha1.StateFailed, reason, message
	} else {
		s.refuseUnsent(p.Recipient, reason, message)
	}
}

// refuseUnsent fails a recipient when the store proves that nothing was sent.
func (s *scope) refuseUnsent(r v1alpha1.Recipient, reason, message string) {
	if s.refusals == nil {
		s.refusals = map[v1alpha1.Recipient]v1alpha1.Cause{}
	}
	s.refusals[r] = v1alpha1.Cause{Reason: reason, Message: message}
}

// refuseAll refuses every recipient that is not done, in one of these ways.
func (s *scope) refuseAll(refuse func(i int, reason, message string), reason, message string) {
	for i, p := range s.recipients {
		if !p.Done() {
			refuse(i, reason, message)
		}
	}
}

// refuseNew refuses every recipient that is neither done nor submitted.
func (s *scope) refuseNew(reason, message string) {
	for i, p := range s.recipients {
		if !p.Done() && !s.isSubmitted(p) {
			s.refuse(i, reason, message)
		}
	}
}

// allRefused reports whether every recipient that is not done is refused.
func (s *scope) allRefused() bool {
	return !slices.ContainsFunc(s.recipients, func(p delivery.Progress) bool {
		_, refused := s.refusals[p.Recipient]
		return !p.Done() && !refused
	})
}

// retryFailed starts again with the recipients that failed with proof that the failed segment was not stored. It
// resumes the doubts that ended because the group did not exist.
func (s *scope) retryFailed() {
	s.origin = originRetry
	for i, r := range s.message.Status.Recipients {
		p := s.recipients[i]
		again := againFrom(p)
		switch {
		case r.FailedInDoubt():
			// A message without a token is found by its time.
			again.State, again.DoubtSince, again.CreateTime = v1alpha1.StateInDoubt, s.now, p.CreateTime
			again.Reason, again.Message = v1alpha1.ReasonNoAnswer, p.Message
			s.recipients[i] = again
		case r.Retryable():
			s.recipients[i] = again
		}
	}
}

// againFrom returns the progress with which a recipient begins again.
func againFrom(p delivery.Progress) delivery.Progress {
	return delivery.Progress{
		Recipient: p.Recipient, ByName: p.ByName, ByRef: p.ByRef, State: v1alpha1.StatePending, Attempts: p.Attempts,
		Earlier: p.Earlier, EarlierReason: p.EarlierReason, EarlierMessage: p.EarlierMessage, FormerID: p.FormerID,
	}
}

// abandonDoubts ends the doubts of a waiting message at the deadline, when the store cannot be searched.
func (s *scope) abandonDoubts(out outcome) {
	if out.cause == nil || out.cause.Reason == v1alpha1.ReasonManagedByAnother || s.underWay() || !s.expired() {
		return // the other operator knows more
	}
	for i := range s.recipients {
		switch p := &s.recipients[i]; {
		case p.State == v1alpha1.StateInDoubt:
			p.State, p.Reason, p.Message = v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown,
				"may have been sent; the deadline passed before the store could be searched"
		case p.State == v1alpha1.StatePending && s.asksFirst():
			p.State, p.Reason, p.Message = v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown,
				"not sent; the deadline passed before the store could be searched for the message of another resource"
		}
	}
}

// earlierUntil returns the time until which another operator may still be sending the message, or zero.
func earlierUntil(term leadership.Term, m *v1alpha1.TeamTalkMessage) time.Time {
	if !term.MayBeSent(m) || m.Status.WaitsUnsent() || nothingSent(m) {
		return time.Time{}
	}
	// Hundreds can be proved absent at one moment, and recording them takes seconds. So the oldest are the first: those
	// of the last 20 seconds before the term are spread over a second.
	age := term.Start.Sub(m.CreationTimestamp.Time)
	return term.Local.Add(delivery.PeerPatience + max(0, 20*time.Second-age)/20)
}

// nothingSent reports whether the status proves that no operator is sending the message: it lacks the data that is
// recorded before each send.
func nothingSent(m *v1alpha1.TeamTalkMessage) bool {
	// A message may have been sent without its text being recorded until its status shows a revision.
	identifiesText := identifiesText(m) && (!m.Resends() || len(m.Status.Revisions) > 0)
	return namesUntried(m) || !isStaged(m) && (m.Spec.Content.Audio != nil || identifiesText && m.Status.Text == nil)
}

// isStaged reports whether a recipient that is not done has its time already, or may have been sent to.
func isStaged(m *v1alpha1.TeamTalkMessage) bool {
	return slices.ContainsFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool {
		return !r.Done() && (r.State != v1alpha1.StatePending || r.CreateTime != nil)
	})
}

// earlierTermUntil returns the time until which the operator of the earlier term may be sending.
func earlierTermUntil(term leadership.Term) time.Time {
	if term.Clean {
		return term.Local
	}
	return term.Local.Add(delivery.PeerPatience)
}
