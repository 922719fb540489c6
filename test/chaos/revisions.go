// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// revisionScenarios are about messages whose edits are sent.
func revisionScenarios() []scenario {
	return append(takeovers([]scenario{
		{name: "kill-revised", run: killRevised,
			clause: "messages with onChange: Resend are edited before it, without a leader, and during the search"},
		{name: "paused-revised", run: pausedRevised,
			clause: "a leader is paused past its Lease, and its messages in flight are edited"},
	}), scenario{
		name: "revised", short: true, run: editedUnderWay,
		clause: "messages with onChange: Resend are edited while requests and answers are lost",
	})
}

// resendSome makes two thirds of the messages Resend from their beginning. The others are set to it by their edit.
func (w *world) resendSome() {
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		if m.number%3 != 0 {
			o.Spec.OnChange = v1alpha1.OnChangeResend
		}
	}
}

// revise edits messages. Every other one gets another text, the others one more recipient. The API server refuses to
// set Resend on a message that no operator has recorded, which is not changed then.
func (w *world) revise(ctx context.Context, some []*message) {
	w.each(ctx, some, func(ctx context.Context, m *message) {
		if m.number/3%2 == 0 {
			w.addRecipient(ctx, m)
			return
		}
		next := w.more(1)[0]
		next.name, next.uid, next.to = m.name, m.uid, m.to
		err := w.tryPatch(ctx, m, `{"spec":{"onChange":"Resend","content":{"text":%q}}}`, w.text(next.number))
		if apierrors.IsInvalid(err) {
			next.want, next.waits = atMostOnce, true // not declared
			return
		}
		framework.Must(err)
		m.want = superseded
	})
}

func (w *world) addRecipient(ctx context.Context, m *message) {
	i := slices.Index(w.users, m.to[0].id)
	if m.to[0].group {
		i = int(m.to[0].id) // any other user
	}
	next := recipient{false, w.users[(i+1)%len(w.users)]}
	users := []uint32{next.id}
	var groups []uint32
	if m.to[0].group {
		groups = []uint32{m.to[0].id}
	} else {
		users = append(users, m.to[0].id)
	}
	to := framework.MustGet(json.Marshal(map[string]any{"users": users, "groups": groups}))
	err := w.tryPatch(ctx, m, `{"spec":{"onChange":"Resend","to":%s}}`, to)
	if apierrors.IsInvalid(err) {
		return
	}
	framework.Must(err)
	m.to = append(m.to, next)
}

// judgeSuperseded compares the rows of the first revision with its record in the status.
func judgeSuperseded(t *tally, m *message, rows stored, o *v1alpha1.TeamTalkMessage) {
	there := 0
	for _, p := range m.pieces() {
		there += min(1, len(rows[p])) // more are counted as duplicates
	}
	recorded := 0
	if o != nil && len(o.Status.Revisions) > 1 { // otherwise it was edited before anything was done
		recorded = int(o.Status.Revisions[0].Counts.Stored)
	}
	if recorded != there {
		t.problem("message %d is stored %d times, its record says %d", m.number, there, recorded)
	}
}

// share returns the kth of n shares of the messages. Each share has messages of all kinds.
func (w *world) share(k, n int) []*message {
	return slices.DeleteFunc(slices.Clone(w.messages), func(m *message) bool { return m.number/6%n != k })
}

// underWay waits until statuses show messages that are not finished and were not declared with Resend.
func (w *world) underWay(ctx context.Context) {
	w.await(ctx, "messages under way are recorded", func() (string, bool) {
		n := 0
		for _, o := range w.objects(ctx, w.cluster.admin) {
			if o.Status.SpecDigest != "" && !o.Finished() && !o.Resends() {
				n++
			}
		}
		return fmt.Sprintf("%d are", n), n > 1
	})
}

func killRevised(ctx context.Context, w *world) {
	w.resendSome()
	b := halfLost(w)
	// Otherwise the operator would find the stored messages before the kill.
	unseen := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: []wire.Command{wire.CommandMsgListRsp},
		Do: faultproxy.Drop})
	w.send(ctx, w.size)
	shares := [][]*message{w.share(0, 4), w.share(1, 4), w.share(2, 4), w.share(3, 4)}
	framework.Must(b.await(ctx, w.caught()))
	w.underWay(ctx)
	w.revise(ctx, shares[0])
	w.kill(w.leader)
	b.release()
	unseen.Remove()
	w.revise(ctx, shares[1])
	w.replace(ctx)
	w.revise(ctx, shares[2])
	w.finished(ctx)
	// A revision whose request is lost must not be confused with the one before.
	lost := w.onDB(faultproxy.Rule{Commands: messages, Every: 2, Count: len(shares[3]) / 2, Do: faultproxy.Drop})
	w.revise(ctx, shares[3])
	framework.Must(lost.Await(ctx, 1))
	w.finished(ctx)
}

func pausedRevised(ctx context.Context, w *world) {
	w.resendSome()
	w.limitInFlight(ctx, 8)
	hold, held := w.hold(faultproxy.ToClient, wire.CommandMsgData)
	defer hold.Release()
	w.send(ctx, w.size)
	half, rest := w.share(0, 2), w.share(1, 2)
	framework.Must(held.Await(ctx, min(8, w.caught())))
	w.revise(ctx, half)
	framework.Must(w.leader.Signal(syscall.SIGSTOP))
	hold.Release()
	w.revise(ctx, rest)
	w.replace(ctx)
	w.finished(ctx)
	framework.Must(w.leader.Signal(syscall.SIGCONT))
	w.sendUntilEnded(ctx, w.leader)
}

func editedUnderWay(ctx context.Context, w *world) {
	w.resendSome()
	b := halfLost(w)
	w.send(ctx, w.size)
	half, rest := w.share(0, 2), w.share(1, 2)
	framework.Must(b.await(ctx, w.caught()))
	w.revise(ctx, half)
	b.release()
	w.finished(ctx)
	w.revise(ctx, rest)
	w.finished(ctx)
}
