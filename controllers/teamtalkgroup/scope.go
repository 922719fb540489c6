// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"math/rand/v2"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/chatgroup"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// scope is the state that the phases of one reconciliation share.
type scope struct {
	// group is a copy whose status the phases change. written is the resource in the API server.
	group, written *v1alpha1.TeamTalkGroup
	memory         *memory
	now            time.Time
	// term is the term of the server's claim. claimed is true if this process may use the server.
	term    leadership.Term
	claimed bool
	// server is set by resolveServer, talk by requireConnection.
	server *v1alpha1.TeamTalkServer
	talk   *chatgroup.Client
	// unlock ends the pass for other resources that want the group. Set by requireOneManager.
	unlock func()
	// chat is the group in TeamTalk. Set by readGroup.
	chat *chatgroup.Group
}

// release releases the lock of the group.
func (s *scope) release() {
	if s.unlock != nil {
		s.unlock()
	}
}

func newScope(g *v1alpha1.TeamTalkGroup, m *memory, now time.Time) *scope {
	return &scope{group: g.DeepCopy(), written: g, memory: m, now: now}
}

// wanted returns the members that the group must have.
func (s *scope) wanted() []uint32 { return s.group.Users(s.server.Spec.Senders.Default) }

// settled returns the longest time for which a request may still be executed, or hidden by replication lag, after its
// connection has ended.
func (s *scope) settled() time.Duration {
	p := delivery.PolicyOf(s.server, 0)
	return p.Settle + p.ReplicaLag
}

// provableAt returns the time from which a search can prove that no attempt has created the group. It is zero if there
// was no attempt.
func (s *scope) provableAt() time.Time {
	switch {
	case s.group.Status.CreateAttempt == nil:
		return time.Time{}
	case s.memory.attemptEnded.IsZero(): // it was another process, whose requests may still be executed
		return s.term.Local.Add(delivery.PeerPatience + s.settled())
	}
	return s.memory.attemptEnded.Add(s.settled())
}

// isAbsent reports whether the item has been missing for longer than any replication lag. It tracks one item at a time.
func (s *scope) isAbsent(what string) bool {
	m := s.memory
	if m.absent != what {
		m.absent, m.absentSince = what, s.now
	}
	return s.now.Sub(m.absentSince) >= s.settled()
}

func (s *scope) setGroup(id uint32) {
	s.group.Status.GroupID, s.group.Status.CreateAttempt = new(v1alpha1.GroupID(id)), nil
}

func (s *scope) setMembers(members []uint32) { s.group.Status.Members = new(int32(len(members))) }

// phase is one step of a reconciliation.
type phase func(context.Context, *scope) (outcome, error)

// check returns a phase for a decision without I/O.
func check(decide func(*scope) outcome) phase {
	return func(_ context.Context, s *scope) (outcome, error) { return decide(s), nil }
}

// outcome is the result of a phase.
type outcome struct {
	action action
	cause  v1alpha1.Cause
	// after is the longest time until the group is reconciled again.
	after time.Duration
}

type action int

const (
	// actionContinue runs the next phase.
	actionContinue action = iota
	// actionReady records that the group is as declared.
	actionReady
	// actionWait records that a change is in progress, or that the group waits.
	actionWait
	// actionRefuse records that an edit is needed, of this resource or another one.
	actionRefuse
	// actionLeave leaves the status unchanged.
	actionLeave
)

var proceed = outcome{}

// ready is the outcome for a group that is as declared.
func (s *scope) ready() outcome {
	o := outcome{action: actionReady, after: driftInterval}
	if len(s.memory.announcements) > 0 {
		o.after = announceInterval
	}
	return o
}

// waitFor records the cause for which the group waits. A watch wakes it.
func waitFor(reason, message string) outcome {
	return outcome{action: actionWait, cause: v1alpha1.Cause{Reason: reason, Message: message}, after: driftInterval}
}

// retry records the cause and retries with backoff, because no watch shows the end of the cause.
func (s *scope) retry(reason, message string) outcome {
	const least, most = time.Second, time.Minute
	delay := min(most, least<<min(s.memory.tries, 10))
	s.memory.tries++
	o := waitFor(reason, message)
	o.after = delay + rand.N(delay/4)
	return o
}

// retryAfter records the cause and retries after a time.
func retryAfter(after time.Duration, reason, message string) outcome {
	o := waitFor(reason, message)
	o.after = max(after, time.Millisecond)
	return o
}

// refuse records a cause that a user must fix.
func refuse(reason, message string) outcome {
	return outcome{action: actionRefuse, cause: v1alpha1.Cause{Reason: reason, Message: message}, after: refusedInterval}
}

// leave reconciles the group again after a time. If it is 0, a watch wakes the group.
func leave(after time.Duration) outcome { return outcome{action: actionLeave, after: after} }

// attemptNow returns an attempt for the status.
func (s *scope) attemptNow() *v1alpha1.GroupCreateAttempt {
	return &v1alpha1.GroupCreateAttempt{
		Time: metav1.Now(), SenderID: v1alpha1.UserID(s.talk.User), ServerUID: string(s.server.UID),
	}
}
