// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// identityScenarios are about resources that follow other resources with the same identity.
func identityScenarios() []scenario {
	return append(takeovers([]scenario{
		{name: "keyed-configmap-edited", run: keyedConfigMapEdited,
			clause: "kill -9; the ConfigMap of messages with an idempotencyKey is edited before they are recorded"},
	}), []scenario{
		{name: "two-texts-one-key", short: true, run: twoTextsOneKey,
			clause: "two resources share an idempotencyKey with different texts"},
		{name: "reapplied-after-deadline", needsDev: true, run: reappliedAfterDeadline,
			clause: "delivered messages are created again after their deadline, or without their recipient"},
		{name: "reapplied-after-window", alone: true, needsDev: true, run: reappliedAfterWindow,
			clause: "messages are created again 40 days later, some with another text"},
	}...)
}

// twoTextsOneKey: messages that have failed are retried under keys that delivered ones have used.
func twoTextsOneKey(ctx context.Context, w *world) {
	first := w.size / 2
	w.deal = w.giveKey
	w.shape = func(_ *message, o *v1alpha1.TeamTalkMessage) { o.Spec.RetryLimit = ptr.To[int32](0) }
	rejected := w.onDB(faultproxy.Rule{Commands: messages, Do: faultproxy.RefuseWith(0)})
	w.send(ctx, first)
	w.finished(ctx)
	rejected.Remove()
	w.shape = nil
	w.deal = func(m *message) {
		before := w.messages[m.number-1-first]
		m.key, m.to = before.key, before.to
	}
	w.send(ctx, first)
	w.finished(ctx)
	w.each(ctx, w.messages[:first], func(ctx context.Context, m *message) {
		m.want = refused
		w.patch(ctx, m, `{"metadata":{"annotations":{%q:"1"}}}`, v1alpha1.RetryAnnotation)
	})
}

// textsFrom puts the scenario's texts in a ConfigMap, one key for each message.
func (w *world) textsFrom(ctx context.Context, name string) *corev1.ConfigMap {
	all := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}, Data: map[string]string{}}
	for number := range 2 * w.size {
		all.Data[strconv.Itoa(number)] = w.text(number)
	}
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		o.Spec.Content = v1alpha1.Content{TextFrom: &v1alpha1.TextSource{
			ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: name, Key: strconv.Itoa(m.number)},
		}}
	}
	framework.Must(w.cluster.admin.Create(ctx, all))
	return all
}

// keyedConfigMapEdited: the stored messages were sent with an older text. The newer one must never be sent.
func keyedConfigMapEdited(ctx context.Context, w *world) {
	texts := w.textsFrom(ctx, "texts")
	w.deal = w.giveKey
	lost := w.sendUnanswered(ctx, w.size/4)
	w.kill(w.leader)
	rows := w.rows(ctx)
	for _, m := range w.messages {
		if len(rows[m.pieces()[0]]) > 0 {
			texts.Data[strconv.Itoa(m.number)] = w.text(undeclared)
		}
	}
	framework.Must(w.cluster.admin.Update(ctx, texts))
	lost.Remove()
	w.replace(ctx)
	w.send(ctx, w.size/10)
}

// reappliedAfterDeadline: the status must not claim an outcome without a search of the store.
func reappliedAfterDeadline(ctx context.Context, w *world) {
	deadline := time.Now().Add(time.Duration(w.size) * 100 * time.Millisecond)
	w.deal = w.giveKey
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		if m.number%2 == 0 {
			o.Spec.Deadline = &metav1.Time{Time: deadline}
		}
	}
	w.send(ctx, w.size)
	w.finished(ctx)
	after(ctx, time.Until(deadline)+time.Second)
	// The recipients of the others are gone.
	for _, id := range w.users {
		framework.Must(w.dev.RemoveUser(id))
	}
	for _, id := range w.groups {
		framework.Must(w.dev.SetMembers(id, w.users[0]))
	}
	var again atomic.Int64
	w.counts(func() int { return int(again.Load()) })
	w.each(ctx, w.messages, func(ctx context.Context, m *message) {
		again.Add(1)
		w.recreate(ctx, m)
	})
	w.finished(ctx)
	for _, id := range w.groups { // to be counted
		framework.Must(w.dev.AddGroup(id, fmt.Sprint("group ", id), w.sender))
	}
}

// aged is longer than the smallest window in which the store is searched for a key.
const aged = 40 * 24 * time.Hour

// fillers is more than the number of rows that a search reads first.
const fillers = 20

// fill adds newer rows to the conversations of the messages. These rows are also older than the window.
func (w *world) fill(ctx context.Context, at time.Time) {
	conversations := sets.New[recipient]()
	for _, m := range w.messages {
		conversations.Insert(m.to...)
	}
	filler := w.cipher(w.keys[0]).Encrypt([]byte("hello"))
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		for to := range conversations {
			kind := wire.MsgType_MSG_TYPE_SINGLE_TEXT
			if to.group {
				kind = wire.MsgType_MSG_TYPE_GROUP_TEXT
			}
			for range fillers {
				w.write(ctx, db, to, at, kind, filler)
			}
		}
	})
}

// reappliedAfterWindow recreates messages with a TTL, which are identified by name and text. After the window, some
// of them are new messages.
func reappliedAfterWindow(ctx context.Context, w *world) {
	w.deal = func(m *message) {
		if m.number%2 == 0 {
			w.giveKey(m)
		} else {
			m.want = expired
		}
	}
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		if m.key == "" {
			o.Spec.TTLSecondsAfterFinished = ptr.To[int32](1)
		}
	}
	w.inspectDeleted(ctx)
	w.send(ctx, w.size*3/4)
	w.finished(ctx)
	// An operator that has seen the rows with their times would miss them.
	framework.Must(w.leader.Stop(ctx))
	framework.Must(w.dev.Age(aged))
	w.began = w.began.Add(-aged)
	w.fill(ctx, time.Now().Add(-35*24*time.Hour))
	w.ledCleanly(ctx, w.start())
	var again atomic.Int64
	w.counts(func() int { return int(again.Load()) })
	w.each(ctx, w.messages, func(ctx context.Context, m *message) {
		again.Add(1)
		if m.number%4 != 1 {
			w.recreate(ctx, m)
			return
		}
		w.mu.Lock()
		edited := &message{number: len(w.messages) + 1, name: m.name, to: m.to, want: expired}
		w.messages = append(w.messages, edited)
		w.mu.Unlock()
		w.create(ctx, edited)
	})
}
