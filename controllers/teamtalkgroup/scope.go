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

// scope is what the phases of one reconciliation share.
type scope struct {
	// group is a copy whose status the phases change. written is the resource as the API server has it.
	group, written *v1alpha1.TeamTalkGroup
	memory         *memory
	now            time.Time
	// term is that of the server's claim. claimed: this process may use the server.
	term    leadership.Term
	claimed bool
	// server is set by resolveServer, talk by requireConnection.
	server *v1alpha1.TeamTalkServer
	talk   *chatgroup.Client
	// unlock ends the pass for other resources that want the group. Set by requireOneManager.
	unlock func()
	// chat is the group in TeamTalk, as it is known. Set by readGroup.
	chat *chatgroup.Group
}

// release lets other resources that want the group go on.
func (s *scope) release() {
	if s.unlock != nil {
		s.unlock()
	}
}

func newScope(g *v1alpha1.TeamTalkGroup, m *memory, now time.Time) *scope {
	return &scope{group: g.DeepCopy(), written: g, memory: m, now: now}
}

// wanted returns the members that the group is to have at least.
func (s *scope) wanted() []uint32 { return s.group.Users(s.server.Spec.Senders.Default) }

// settled is how long a request may still be executed after its connection has ended, and not be shown.
func (s *scope) settled() time.Duration {
	p := delivery.PolicyOf(s.server, 0)
	return p.Settle + p.ReplicaLag
}

// provableAt returns from when a search can prove that no attempt has created the group; zero: there was none.
func (s *scope) provableAt() time.Time {
	switch {
	case s.group.Status.CreateAttempt == nil:
		return time.Time{}
	case s.memory.attemptEnded.IsZero(): // it was another process, whose requests may still be executed
		return s.term.Local.Add(delivery.PeerPatience + s.settled())
	}
	return s.memory.attemptEnded.Add(s.settled())
}

// isAbsent reports whether something is missing for so long that no lag explains it. It forgets what else was missing.
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

// check makes a phase of a decision that needs no I/O.
func check(decide func(*scope) outcome) phase {
	return func(_ context.Context, s *scope) (outcome, error) { return decide(s), nil }
}

// outcome is what follows a phase.
type outcome struct {
	action action
	cause  v1alpha1.Cause
	// after is when the group is reconciled again at the latest.
	after time.Duration
}

type action int

const (
	// actionContinue runs the next phase.
	actionContinue action = iota
	// actionReady: the group is as declared.
	actionReady
	// actionWait: it is in progress, or waits for something else.
	actionWait
	// actionRefuse: nothing but an edit, of this resource or elsewhere, helps.
	actionRefuse
	// actionLeave does not write the status.
	actionLeave
)

var proceed = outcome{}

// ready is the outcome of a group that is as declared.
func (s *scope) ready() outcome {
	o := outcome{action: actionReady, after: driftInterval}
	if len(s.memory.announcements) > 0 {
		o.after = announceInterval
	}
	return o
}

// waitFor records what the group waits for. A watch wakes it.
func waitFor(reason, message string) outcome {
	return outcome{action: actionWait, cause: v1alpha1.Cause{Reason: reason, Message: message}, after: driftInterval}
}

// retry is waitFor of what no watch shows.
func (s *scope) retry(reason, message string) outcome {
	const least, most = time.Second, time.Minute
	delay := min(most, least<<min(s.memory.tries, 10))
	s.memory.tries++
	o := waitFor(reason, message)
	o.after = delay + rand.N(delay/4)
	return o
}

// retryAfter is waitFor of what is looked at again after a time.
func retryAfter(after time.Duration, reason, message string) outcome {
	o := waitFor(reason, message)
	o.after = max(after, time.Millisecond)
	return o
}

// refuse records what a user has to fix.
func refuse(reason, message string) outcome {
	return outcome{action: actionRefuse, cause: v1alpha1.Cause{Reason: reason, Message: message}, after: refusedInterval}
}

// leave looks again after a time; 0: a watch wakes the group.
func leave(after time.Duration) outcome { return outcome{action: actionLeave, after: after} }

// attemptNow returns an attempt for the status.
func (s *scope) attemptNow() *v1alpha1.GroupCreateAttempt {
	return &v1alpha1.GroupCreateAttempt{
		Time: metav1.Now(), SenderID: v1alpha1.UserID(s.talk.User), ServerUID: string(s.server.UID),
	}
}
