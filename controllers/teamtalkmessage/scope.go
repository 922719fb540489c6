package teamtalkmessage

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// scope is what the phases of one reconciliation share.
type scope struct {
	message *v1alpha1.TeamTalkMessage
	term    leadership.Term
	now     time.Time
	seen    string

	server *v1alpha1.TeamTalkServer
	// serverKey names the server, once it is known to exist.
	serverKey types.NamespacedName
	session   *connection.Session
	sender    uint32
	payload   delivery.Payload

	// restart: the message had finished with nothing stored, and was edited.
	restart bool
	// retry: the message had finished, and what failed of it is to be tried again.
	retry bool
	// known: the engine is at work on the message, or done with it; held: without
	// its payload.
	known, held bool
	// revision of the engine's progress that recipients show; 0: none.
	revision uint64

	// recipients as they stand, in the order in which the spec names them.
	recipients []delivery.Progress
	// refusals are of recipients that are in doubt; see refuse.
	refusals map[delivery.Recipient]delivery.Refusal
	// hold is why the payload is not known yet, where something was begun.
	hold *v1alpha1.Cause
	// split identifies the text that is on record as being sent in parts.
	split *v1alpha1.SplitText
	// earlierUntil is until when another operator may still be sending the
	// message; zero where none can.
	earlierUntil time.Time
	// wait is what must change before the message can go on; a watch wakes it, or
	// the time that nextLook returns. onPurpose: it is as declared.
	wait      *v1alpha1.Cause
	onPurpose bool
	// staged: the status must be written before anything is sent.
	staged bool
	// quiet: the message has only just been taken on; it is soon told how it ended,
	// and that it is being sent only if it takes long.
	quiet bool
	// later: there is nothing to say yet, and what changes that wakes the message
	// or its next operator.
	later bool
	// again: it is looked at again presently, before younger ones may go.
	again bool
	// noRoom: it stands in line for the engine to have room.
	noRoom bool
	// soon: an event is on its way, and may already have been when the message came.
	soon bool
}

// settled reports whether the remaining phases have nothing to do.
func (s *scope) settled() bool {
	if s.wait != nil || s.staged || s.later {
		return true
	}
	for _, p := range s.recipients {
		if !p.Done() {
			return false
		}
	}
	return true
}

// refuse keeps a recipient from being sent to. Where nothing was sent it fails at
// once; else it fails when the store has shown that nothing was.
func (s *scope) refuse(i int, reason, message string) {
	p := s.recipients[i]
	if p.State == v1alpha1.StatePending && !s.known {
		p.State, p.Reason, p.Message = v1alpha1.StateFailed, reason, message
		s.recipients[i] = p
		return
	}
	if s.refusals == nil {
		s.refusals = map[delivery.Recipient]delivery.Refusal{}
	}
	s.refusals[p.Recipient] = delivery.Refusal{Reason: reason, Message: message}
}

// refuseAll refuses every recipient that is not done.
func (s *scope) refuseAll(reason, message string) {
	for i, p := range s.recipients {
		if !p.Done() {
			s.refuse(i, reason, message)
		}
	}
}

// retryFailed begins anew with the recipients that failed with proof that what
// failed was not stored.
func (s *scope) retryFailed() {
	s.retry = true
	for i, r := range s.message.Status.Recipients {
		if p := s.recipients[i]; r.Retryable() {
			s.recipients[i] = delivery.Progress{
				Recipient: p.Recipient, State: v1alpha1.StatePending, Attempts: p.Attempts,
				Earlier: p.Earlier, EarlierReason: p.EarlierReason, EarlierMessage: p.EarlierMessage,
			}
		}
	}
}

// abandon ends the doubts of a message that cannot be looked for, once its deadline
// has come.
func (s *scope) abandon() {
	if s.wait == nil || s.known || !s.expired() {
		return
	}
	for i, p := range s.recipients {
		if p.State == v1alpha1.StateInDoubt {
			p.State, p.Reason, p.Message = v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown,
				"may have been sent; the deadline came before the store could be asked"
			s.recipients[i] = p
		}
	}
}

// expired reports whether the message's deadline has come.
func (s *scope) expired() bool {
	d := s.message.DeadlineTime()
	return !d.IsZero() && !s.now.Before(d)
}

// nextLook returns how long it takes until time alone changes something about a
// message that is not finished; 0: never.
func (s *scope) nextLook() time.Duration {
	if s.soon {
		return eventLag
	}
	var next time.Duration
	for _, at := range []time.Time{s.message.ScheduledFor(), s.message.DeadlineTime()} {
		if d := at.Sub(s.now); d > 0 && (next == 0 || d < next) {
			next = d
		}
	}
	return next
}

// begun reports whether something may have been sent to a recipient that is not done.
func (s *scope) begun() bool {
	for _, p := range s.recipients {
		if !p.Done() && p.State != v1alpha1.StatePending {
			return true
		}
	}
	return false
}

// tokens reports whether the message carries delivery tokens. One that was begun
// without goes on without, whatever the server declares meanwhile.
func (s *scope) tokens() bool {
	if s.message.Spec.Content.Audio != nil {
		return false
	}
	if !s.restart {
		for _, r := range s.message.Status.Recipients {
			if r.CreateTime != nil {
				return false
			}
		}
	}
	return s.server == nil || s.server.Spec.DeliveryToken != v1alpha1.DeliveryTokenDisabled
}

// newScope takes a message up where its status left it. An edit of a message
// that had finished with nothing stored starts it anew.
func newScope(m *v1alpha1.TeamTalkMessage, term leadership.Term, seen string, now time.Time) *scope {
	s := &scope{message: m, term: term, now: now, seen: seen}
	known := map[delivery.Recipient]v1alpha1.RecipientStatus{}
	s.earlierUntil = earlierUntil(term, m)
	s.restart = m.Status.ObservedGeneration != m.Generation && m.Status.CompletionTime != nil && m.Status.NothingStored()
	if !s.restart {
		s.split = m.Status.Split
		for _, r := range m.Status.Recipients {
			known[delivery.Recipient{Type: r.Type, ID: uint32(r.ID)}] = r
		}
	}
	add := func(t v1alpha1.RecipientType, id int64) {
		r := delivery.Recipient{Type: t, ID: uint32(id)}
		p := progressOf(r, known[r])
		if !s.earlierUntil.IsZero() && !s.restart {
			p = p.FromPriorTerm(now)
		}
		s.recipients = append(s.recipients, p)
	}
	for _, id := range m.Spec.To.Users {
		add(v1alpha1.RecipientUser, int64(id))
	}
	for _, id := range m.Spec.To.Groups {
		add(v1alpha1.RecipientGroup, int64(id))
	}
	return s
}

// progressOf reads a recipient's progress back from its status; the zero status
// is one that nothing is known of.
func progressOf(r delivery.Recipient, status v1alpha1.RecipientStatus) delivery.Progress {
	p := delivery.Progress{
		Recipient: r, State: status.State, Reason: status.Reason, Message: status.Message, Attempts: status.Attempts,
		EarlierReason: status.EarlierReason, EarlierMessage: status.EarlierMessage,
	}
	if p.State == "" {
		p.State = v1alpha1.StatePending
	}
	earlier := status.MessageIDs
	switch p.State {
	case v1alpha1.StateAcknowledged, v1alpha1.StateStored, v1alpha1.StateRouted:
		// The last one is the current part's.
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
	if status.InDoubtSince != nil {
		p.DoubtSince = status.InDoubtSince.Time
	}
	if status.StoredAt != nil {
		p.StoredAt = status.StoredAt.Time
	}
	if status.RoutedAt != nil {
		p.RoutedAt = status.RoutedAt.Time
	}
	return p
}
