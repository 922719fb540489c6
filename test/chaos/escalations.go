// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// escalationScenarios are about messages that were not read. None is escalated twice, and none that was read is
// escalated.
func escalationScenarios() []scenario {
	return takeovers([]scenario{{
		name: "kill-escalating", needsDev: true, run: killEscalating,
		clause: "escalations are partly sent, and others become due without a leader",
	}, {
		name: "paused-escalating", needsDev: true, run: pausedEscalating,
		clause: "a leader is paused past its Lease; its escalations arrive after the next leader's search",
	}})
}

// firstLine is the first line of every escalation in the scenarios.
const firstLine = "Not read within 1 second:\n"

// escalateTo gives each third message its own recipients again, others the next user, and others a group.
func (w *world) escalateTo(m *message) []recipient {
	switch m.number % 3 {
	case 0:
		return m.to
	case 1:
		return []recipient{{false, w.users[m.number/3%len(w.users)]}}
	}
	return []recipient{{true, w.groups[m.number/3%len(w.groups)]}}
}

// mayEscalate gives all messages a readPolicy that can escalate them.
func (w *world) mayEscalate() {
	w.deal = func(m *message) { m.escalateTo = w.escalateTo(m) }
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		to := recipients(m.escalateTo)
		o.Spec.ReadPolicy = &v1alpha1.ReadPolicy{EscalateTo: &to}
	}
}

// becomeDue ends the time in which the recipients can read the messages.
func (w *world) becomeDue(ctx context.Context, some []*message) {
	w.each(ctx, some, func(ctx context.Context, m *message) {
		w.patch(ctx, m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
	})
}

// escalateUnrecorded makes messages due while no status can be written. Nothing may be sent.
func (w *world) escalateUnrecorded(ctx context.Context, some []*message) {
	refused := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite,
		Do: apiproxy.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)})
	w.counts(refused.Fired)
	w.becomeDue(ctx, some)
	framework.Must(refused.Await(ctx, 2*len(some))) // each of them more than once
	for p, rows := range w.rows(ctx) {
		if p.escalated {
			w.early += len(rows)
		}
	}
	refused.Remove()
}

func killEscalating(ctx context.Context, w *world) {
	w.mayEscalate()
	w.send(ctx, w.size)
	w.finished(ctx)
	all := w.conversations()
	read := all[:len(all)/4]
	w.readConversations(ctx, read)
	var some []*message
	for _, m := range w.messages {
		if m.escalated = !slices.Contains(read, m.to[0]); m.escalated {
			some = append(some, m)
		}
	}
	w.readsAre(ctx, "what was read is recorded", func(to recipient, isRead bool, reason string) bool {
		return !slices.Contains(read, to) || isRead && reason == v1alpha1.ReasonRead
	})
	for _, m := range w.messages {
		if !m.escalated {
			w.patch(ctx, m, `{"spec":{"readPolicy":{"deadlineSeconds":1}}}`)
		}
	}
	few, half := len(some)/8, len(some)*2/3
	w.escalateUnrecorded(ctx, some[:few])
	unanswered := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Drop})
	w.becomeDue(ctx, some[few:half])
	framework.Must(unanswered.Await(ctx, w.caught()))
	w.kill(w.leader)
	unanswered.Remove()
	w.becomeDue(ctx, some[half:])
	w.replace(ctx)
	w.finished(ctx)
}

// pausedEscalating holds the last requests of the leader until its successor has searched the store. The leader's
// connections stay open meanwhile, as those of a stopped process do.
func pausedEscalating(ctx context.Context, w *world) {
	w.mayEscalate()
	w.send(ctx, w.size)
	w.finished(ctx)
	for _, m := range w.messages {
		m.escalated = true
	}
	inFlight := min(8, w.caught())
	w.limitInFlight(ctx, inFlight)
	hold := &faultproxy.Hold{} // not of what the next one sends
	held := w.onDB(faultproxy.Rule{Direction: faultproxy.ToServer, Commands: messages, Count: inFlight,
		Match: hold.Keeps, Do: hold.Do})
	defer hold.Release()
	half := len(w.messages) * 3 / 4
	w.becomeDue(ctx, w.messages[:half])
	framework.Must(held.Await(ctx, inFlight))
	framework.Must(w.leader.Signal(syscall.SIGSTOP))
	stopped := time.Now()
	w.leader.api.SetGone(true)
	w.replace(ctx)
	after(ctx, time.Until(stopped.Add(delivery.PeerPatience-time.Second))) // then db_proxy disconnects it
	hold.Release()
	w.becomeDue(ctx, w.messages[half:])
	w.finished(ctx)
	framework.Must(w.leader.Signal(syscall.SIGCONT))
	w.ended(ctx, w.leader)
}

// isEscalated reports whether the expected escalation has ended, and no other one is in progress.
func (m *message) isEscalated(o *v1alpha1.TeamTalkMessage) bool {
	return (!m.escalated || o.Status.Escalated()) && !o.Escalating()
}

// escalationOf returns the status of a recipient of the escalation, or nil.
func escalationOf(o *v1alpha1.TeamTalkMessage, to recipient) *v1alpha1.RecipientStatus {
	if o == nil || o.Status.Escalation == nil {
		return nil
	}
	return statusAmong(o.Status.Escalation.Recipients, to)
}

// judgeEscalation compares the rows of an escalation with the status of its resource.
func (w *world) judgeEscalation(t *tally, m *message, rows stored, o *v1alpha1.TeamTalkMessage) {
	for _, to := range m.escalateTo {
		r, there := escalationOf(o, to), rows[piece{number: m.number, to: to, escalated: true}]
		switch {
		case !m.escalated:
		case r == nil:
			t.problem("message %d: its resource says nothing of its escalation to %+v", m.number, to)
		case r.State != v1alpha1.StateRouted && r.Reason != v1alpha1.ReasonStoredNotRouted:
			t.problem("message %d: its escalation ended as %s %s: %s", m.number, r.State, r.Reason, r.Message)
		case len(there) == 1 && !slices.Equal(r.MessageIDs, []int64{int64(there[0].id)}):
			t.problem("message %d: its escalation is stored as %d, its resource says %v", m.number, there[0].id, r.MessageIDs)
		case len(there) == 1 && there[0].text != w.text(m.number):
			t.problem("message %d is escalated with another text", m.number)
		}
	}
}

// escalatedText returns a text without its first line, and whether that line is the one of an escalation.
func escalatedText(text string) (rest string, escalated bool) {
	return strings.CutPrefix(text, firstLine)
}

// recipients returns the recipients in the form of the API.
func recipients(all []recipient) (to v1alpha1.Recipients) {
	for _, r := range all {
		if r.group {
			to.Groups = append(to.Groups, v1alpha1.GroupID(r.id))
		} else {
			to.Users = append(to.Users, v1alpha1.UserID(r.id))
		}
	}
	return to
}
