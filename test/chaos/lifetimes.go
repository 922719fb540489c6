// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// lifetimeScenarios are about messages that wait, and resources that are deleted, across a takeover.
func lifetimeScenarios() []scenario {
	kill := func(name, clause string, run func(context.Context, *world)) scenario {
		return scenario{name: "kill-" + name, clause: clause, run: run}
	}
	return []scenario{
		kill("scheduled", "messages become due before it, without a leader, and in the next term", killScheduled),
		kill("suspended", "messages are suspended at creation or later", killSuspended),
		kill("expiring", "resources expire and a tool recreates them, before it and after", killExpiring),
	}
}

// sendUnanswered sends messages, and loses the answers to those after the first ones.
func (w *world) sendUnanswered(ctx context.Context, first int) *faultproxy.Armed {
	lost := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Skip: first, Do: faultproxy.Drop})
	w.send(ctx, w.size)
	framework.Must(lost.Await(ctx, w.caught()))
	return lost
}

func (w *world) overtake(ctx context.Context, lost *faultproxy.Armed) {
	w.kill(w.leader)
	lost.Remove()
	w.replace(ctx)
}

// third returns the n-th third of the messages, from 0.
func (w *world) third(n int) []*message {
	return slices.DeleteFunc(slices.Clone(w.messages), func(m *message) bool { return m.number%3 != n })
}

// provedAfter is the shortest time after a takeover in which absence can be proved.
const provedAfter = delivery.PeerPatience + settle + lag

func killScheduled(ctx context.Context, w *world) {
	soon := time.Now().Truncate(time.Second)
	due := []time.Time{soon.Add(3 * time.Second), soon.Add(15 * time.Second), soon.Add(time.Hour)}
	w.deal = func(m *message) { m.notBefore = due[m.number%3] }
	lost := w.sendUnanswered(ctx, 0)
	w.kill(w.leader)
	lost.Remove()
	// No status shows yet that these messages wait for their time, so the operator searches for them.
	w.deal = func(m *message) { m.notBefore = due[2] }
	w.send(ctx, max(2, w.size/10))
	w.replace(ctx)
	// These messages, and those of the last third, are due earlier now. That is after the store can prove that they
	// were not sent.
	now := time.Now().Truncate(time.Second).Add(provedAfter + 13*time.Second)
	later := slices.DeleteFunc(slices.Clone(w.messages), func(m *message) bool { return !m.notBefore.Equal(due[2]) })
	w.each(ctx, later, func(ctx context.Context, m *message) {
		m.notBefore = now
		w.patch(ctx, m, `{"spec":{"sendAfter":%q}}`, now.UTC().Format(time.RFC3339))
	})
	w.deal = nil
	w.send(ctx, w.size/10)
}

func killSuspended(ctx context.Context, w *world) {
	w.deal = func(m *message) { m.waits = m.number%3 == 0 }
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		if m.waits {
			o.Spec.Suspend = ptr.To(true)
		}
	}
	var suspended atomic.Int64
	w.counts(func() int { return int(suspended.Load()) })
	lost := w.sendUnanswered(ctx, w.size/4)
	w.each(ctx, w.third(1), func(ctx context.Context, m *message) {
		m.waits = true
		suspended.Add(1)
		w.patch(ctx, m, `{"spec":{"suspend":true}}`)
	})
	w.overtake(ctx, lost)
	before := w.rows(ctx)
	w.finished(ctx)
	// All messages that were not suspended are stored. None of the others was stored since.
	now := w.rows(ctx)
	for _, m := range w.third(0) {
		w.early += len(now[m.pieces()[0]])
	}
	for _, m := range w.third(1) {
		w.early += len(now[m.pieces()[0]]) - len(before[m.pieces()[0]])
	}
	w.deal, w.shape = nil, nil
	w.each(ctx, append(w.third(0), w.third(1)...), func(ctx context.Context, m *message) {
		m.waits = false
		w.patch(ctx, m, `{"spec":{"suspend":false}}`)
	})
	w.send(ctx, w.size/10)
}

func killExpiring(ctx context.Context, w *world) {
	w.deal = func(m *message) { m.want = expired }
	w.shape = func(_ *message, o *v1alpha1.TeamTalkMessage) { o.Spec.TTLSecondsAfterFinished = ptr.To[int32](1) }
	w.inspectDeleted(ctx)
	var again atomic.Int64
	w.counts(func() int { return int(again.Load()) })
	remake := func(ctx context.Context, m *message) {
		again.Add(1)
		w.recreate(ctx, m)
	}
	lost := w.sendUnanswered(ctx, w.size/2)
	var gone []*message
	w.await(ctx, "resources were deleted by their TTL", func() (string, bool) {
		objects := w.objects(ctx, w.cluster.admin)
		gone = slices.DeleteFunc(slices.Clone(w.messages), func(m *message) bool { return objects[m.uid] != nil })
		return fmt.Sprintf("%d of them", len(gone)), len(gone) >= w.size/5
	})
	w.each(ctx, gone, remake)
	w.overtake(ctx, lost)
	w.send(ctx, w.size/10)
	w.finished(ctx)
	// All messages are recreated once more.
	w.each(ctx, w.messages, remake)
}

// inspectDeleted checks the statuses that resources had when they were deleted. They cannot be read later.
func (w *world) inspectDeleted(ctx context.Context) {
	informer := framework.MustGet(w.cluster.seen.GetInformer(ctx, &v1alpha1.TeamTalkMessage{}))
	framework.MustGet(informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(deleted any) {
		o, ok := deleted.(*v1alpha1.TeamTalkMessage)
		if !ok || o.Namespace != w.namespace || meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionDelivered) {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.odd = append(w.odd, fmt.Sprintf("%s was deleted as %s", o.Name, state(o)))
	}}))
}
