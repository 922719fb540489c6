// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/content"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

const (
	msgSuperseded        = "edited before it was sent; nothing was stored"
	msgSupersededSegment = "edited before all segments were sent"
	// msgUnsettled is the message of a doubt from the former revision. Its token is not searched for any more.
	msgUnsettled = "may have been delivered before the last edit; the store could not prove it either way"
)

// hasRevisions reports whether edits of the message are sent, or were sent before. Its text is recorded before each
// send.
func hasRevisions(m *v1alpha1.TeamTalkMessage) bool {
	return m.Resends() || len(m.Status.Revisions) > 0
}

// isRevised reports whether an edit with onChange: Resend has changed the content or recipients of the status. This
// remains true if Resend is unset, or the edit is reverted, while the former revision ends. The API server accepts no
// such edit of a message that may have been sent with no digest in its status.
func isRevised(m *v1alpha1.TeamTalkMessage) bool {
	if slices.ContainsFunc(m.Status.Recipients, isSuperseded) {
		return true
	}
	return m.Status.SpecDigest != "" && m.Status.ObservedGeneration != m.Generation &&
		m.Status.SpecDigest != specDigest(m) && (m.Resends() || hasRevisions(m) && !startsAgain(m))
}

func isSuperseded(r v1alpha1.RecipientStatus) bool { return r.Reason == v1alpha1.ReasonSuperseded }

// endFormerRevision ends the revision before an edit. Recipients without a send are superseded. Messages that may have
// been sent are settled by the tokens of that revision. A doubt is searched for soon, and then given up. The next
// revision begins after that.
func (r *Reconciler) endFormerRevision(ctx context.Context, s *scope) (outcome, error) {
	return runUntilEnded(ctx, s,
		r.resolveServer,
		check(checkEarlierDoubts),
		check(checkSender),
		check(supersede),
		r.requireAESKey,
		check(r.awaitServerEvent),
		check(r.admit),
		r.submit,
	)
}

// supersede stops the former revision. Its text is not available any more.
func supersede(s *scope) outcome {
	s.refuseAll(s.refuseSuperseded, v1alpha1.ReasonSuperseded, msgSuperseded)
	s.payload = delivery.Payload{Digests: content.Digests(s.text)}
	return proceed
}

func (s *scope) refuseSuperseded(i int, reason, message string) {
	if len(s.recipients[i].Earlier) > 0 {
		message = msgSupersededSegment
	}
	s.refuseNow(i, reason, message)
}

// supersededGrace is the minimum time for which a doubt of a superseded revision is searched for.
const supersededGrace = 2 * time.Minute

// endSuperseded makes the engine stop sending a revision, and end its doubts soon after the edit was first seen.
func (s *scope) endSuperseded(policy *delivery.Policy) {
	at := s.now
	if s.snapshot != nil && !s.snapshot.SupersededAt.IsZero() {
		at = s.snapshot.SupersededAt
	}
	policy.SupersededAt = at
	if end := at.Add(supersededGrace); policy.Deadline.IsZero() || end.Before(policy.Deadline) {
		policy.Deadline = end
	}
}

// beginRevision begins the revision of an edit if the former one has ended: no recipient of it, or of its escalation,
// is in progress or in doubt. A changed content goes to all recipients. With an unchanged content, the recipients of
// the former revision keep what became of them, and those that were superseded are sent to.
func (s *scope) beginRevision() {
	if s.origin != originSuperseded {
		return
	}
	if s.failSuperseded(); s.unfinished() > 0 || s.message.Escalating() {
		return
	}
	s.origin, s.former = originRevision, s.recipients
	s.revision++
	s.recipients, s.recorded, s.earlierUntil = nil, nil, time.Time{}
	if s.keepsContent = s.message.Status.ContentDigest == contentDigest(s.message); !s.keepsContent {
		s.text, s.sender = nil, 0
	} else if id := s.message.Status.SenderID; s.sender == 0 && id != nil {
		s.sender = uint32(*id)
	}
	added := map[v1alpha1.Recipient]bool{}
	for _, r := range s.message.Spec.To.All() {
		if p := s.fromFormer(r); !added[p.Recipient] {
			added[p.Recipient] = true
			s.recipients = append(s.recipients, p)
		}
	}
}

// failSuperseded ends the recipients of a superseded revision that the engine does not have.
func (s *scope) failSuperseded() {
	for i, p := range s.recipients {
		if p.State == v1alpha1.StatePending && !s.isSubmitted(p) {
			s.refuseSuperseded(i, v1alpha1.ReasonSuperseded, msgSuperseded)
		}
	}
}

// fromFormer returns the progress with which a recipient begins a revision. A name or reference keeps its id.
func (s *scope) fromFormer(r v1alpha1.Recipient) delivery.Progress {
	i := slices.IndexFunc(s.former, func(p delivery.Progress) bool {
		return p.Recipient == r || p.FoundBy(r)
	})
	switch {
	case i >= 0 && s.keepsContent:
		return keptProgress(s.former[i])
	case i >= 0:
		former := s.former[i]
		return delivery.Progress{
			Recipient: former.Recipient, ByName: former.ByName, ByRef: former.ByRef, State: v1alpha1.StatePending,
			FormerID: former.LastID(),
		}
	}
	return delivery.Progress{Recipient: r, State: v1alpha1.StatePending}
}

// keptProgress is a recipient's progress in the next revision, if the content is the same.
func keptProgress(p delivery.Progress) delivery.Progress {
	switch {
	case p.Reason == v1alpha1.ReasonSuperseded:
		p.State, p.Reason, p.Message = v1alpha1.StatePending, "", ""
	case p.State == v1alpha1.StateFailed && !p.DoubtSince.IsZero():
		p.Reason, p.Message = v1alpha1.ReasonOutcomeUnknown, msgUnsettled
	}
	return p
}

// closeRevision writes the end of the former revision, and begins the entry of this one.
func (s *scope) closeRevision(at metav1.Time) {
	if s.origin != originRevision {
		return
	}
	st := &s.message.Status
	if len(st.Revisions) == 0 {
		st.Revisions = []v1alpha1.RevisionStatus{
			{Number: s.revision - 1, Digest: st.ContentDigest, StartTime: *st.StartTime},
		}
	}
	former := &st.Revisions[len(st.Revisions)-1]
	counts, _, superseded := count(s.former)
	if len(s.former) == 0 && st.Counts != nil {
		counts = *st.Counts // its status was too large for the recipients
	}
	if st.Escalation != nil {
		st.Escalation.StartTime = nil // the next one can be escalated again
	}
	former.Counts, former.Superseded = counts, int32(superseded)
	if former.CompletionTime = st.CompletionTime; former.CompletionTime == nil {
		former.CompletionTime = &at
	}
	st.Revisions = append(st.Revisions, v1alpha1.RevisionStatus{Number: s.revision, StartTime: at})
	st.Revisions = st.Revisions[max(0, len(st.Revisions)-v1alpha1.MaxRevisions):]
}

// setRevision writes the digests of the spec that the status is about, and the entry of its revision. The first one
// gets an entry together with its text.
func (s *scope) setRevision() {
	m, st := s.message, &s.message.Status
	switch {
	case s.origin == originSuperseded:
	case s.omitRecipients:
		st.SpecDigest, st.ContentDigest = "", "" // an edit could not be compared with the recipients
	case st.SpecDigest == "" || s.startsOver():
		st.SpecDigest, st.ContentDigest = specDigest(m), contentDigest(m)
	}
	if len(st.Revisions) == 0 && hasRevisions(m) && s.text != nil && s.origin != originSuperseded {
		st.Revisions = []v1alpha1.RevisionStatus{{Number: s.revision, StartTime: *st.StartTime}}
	}
	if n := len(st.Revisions); n > 0 {
		_, _, superseded := count(s.recipients)
		current := &st.Revisions[n-1]
		current.Digest, current.Counts, current.Superseded = st.ContentDigest, *st.Counts, int32(superseded)
		current.CompletionTime = st.CompletionTime
	}
}

// revisionEvent returns the event that a revision has begun.
func (s *scope) revisionEvent() statusEvent {
	if s.origin != originRevision {
		return statusEvent{}
	}
	_, delivered, _ := count(s.former)
	return statusEvent{corev1.EventTypeNormal, v1alpha1.ReasonSuperseded, fmt.Sprintf(
		"revision %d begins; revision %d was delivered to %d of %s",
		s.revision, s.revision-1, delivered, plural(len(s.former), "recipient"))}
}
