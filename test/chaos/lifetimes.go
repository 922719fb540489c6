// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// lifetimeScenarios are about messages that wait, and resources that go, across a
// takeover.
func lifetimeScenarios() []scenario {
	kill := func(name, clause string, run func(context.Context, *world) error) scenario {
		return scenario{
			name: "kill-" + name, clause: "kill -9 of the operator: " + clause, bound: takeoverBound, alone: true,
			reroutes: true, run: run,
		}
	}
	return []scenario{
		kill("scheduled", "messages become due before it, while nobody leads, and after it; none is sent before its "+
			"sendAfter", killScheduled),
		kill("suspended", "messages were suspended, from the beginning or under way; nothing of them is sent until they go "+
			"on", killSuspended),
		kill("expiring", "resources are deleted by their TTL, and made again by a tool, before it and after", killExpiring),
	}
}

// unanswered loses the answers to messages after the first ones.
func (w *world) unanswered(first int) *faultproxy.Armed {
	return w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Skip: first, Do: faultproxy.Drop})
}

// overtake kills the leader and has another one take over.
func (w *world) overtake(ctx context.Context, lost *faultproxy.Armed) error {
	w.kill(w.leader)
	<-w.leader.Ended()
	lost.Remove()
	return w.replace(ctx)
}

// third is the n-th third of the messages, from 0.
func (w *world) third(n int) []*message {
	return slices.DeleteFunc(slices.Clone(w.messages), func(m *message) bool { return m.number%3 != n })
}

// provedAfter is how long after a takeover absence can be proved at the earliest.
const provedAfter = delivery.PeerPatience + settle + lag

func killScheduled(ctx context.Context, w *world) error {
	soon := time.Now().Truncate(time.Second)
	due := []time.Time{soon.Add(3 * time.Second), soon.Add(15 * time.Second), soon.Add(time.Hour)}
	w.deal = func(m *message) { m.notBefore = due[m.number%3] }
	lost := w.unanswered(0)
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := lost.Await(ctx, w.caught()); err != nil {
		return err
	}
	if err := w.overtake(ctx, lost); err != nil {
		return err
	}
	// Those of the last third are due earlier than they were, and later than the store
	// can show that they were not sent.
	now := time.Now().Truncate(time.Second).Add(provedAfter + 13*time.Second)
	err := w.each(ctx, w.third(2), func(ctx context.Context, m *message) error {
		m.notBefore = now
		return w.patch(ctx, m, fmt.Sprintf(`{"spec":{"sendAfter":%q}}`, now.UTC().Format(time.RFC3339)))
	})
	w.deal = nil
	return errors.Join(err, w.send(ctx, w.size/10))
}

func killSuspended(ctx context.Context, w *world) error {
	yes := true
	w.deal = func(m *message) { m.waits = m.number%3 == 0 }
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		if m.waits {
			o.Spec.Suspend = &yes
		}
	}
	var suspended atomic.Int64
	w.counts(func() int { return int(suspended.Load()) })
	lost := w.unanswered(w.size / 4)
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := lost.Await(ctx, w.caught()); err != nil {
		return err
	}
	err := w.each(ctx, w.third(1), func(ctx context.Context, m *message) error {
		m.waits = true
		suspended.Add(1)
		return w.patch(ctx, m, `{"spec":{"suspend":true}}`)
	})
	if err != nil {
		return err
	}
	if err := w.overtake(ctx, lost); err != nil {
		return err
	}
	before, err := w.rows(ctx)
	if err != nil {
		return err
	}
	if err := w.finished(ctx); err != nil {
		return err
	}
	// Those that were not suspended are all there. Of the others nothing came since.
	now, err := w.rows(ctx)
	if err != nil {
		return err
	}
	for _, m := range w.third(0) {
		w.early += len(now[m.pieces()[0]])
	}
	for _, m := range w.third(1) {
		w.early += len(now[m.pieces()[0]]) - len(before[m.pieces()[0]])
	}
	w.deal, w.shape = nil, nil
	err = w.each(ctx, append(w.third(0), w.third(1)...), func(ctx context.Context, m *message) error {
		m.waits = false
		return w.patch(ctx, m, `{"spec":{"suspend":false}}`)
	})
	return errors.Join(err, w.send(ctx, w.size/10))
}

// expiry is the TTL of resources that are deleted.
const expiry = time.Second

func killExpiring(ctx context.Context, w *world) error {
	w.deal = func(m *message) { m.want = expired }
	w.shape = func(_ *message, o *v1alpha1.TeamTalkMessage) {
		ttl := int32(expiry / time.Second)
		o.Spec.TTLSecondsAfterFinished = &ttl
	}
	if err := w.inspectDeleted(ctx); err != nil {
		return err
	}
	var again atomic.Int64
	w.counts(func() int { return int(again.Load()) })
	remake := func(ctx context.Context, m *message) error {
		again.Add(1)
		return w.recreate(ctx, m)
	}
	lost := w.unanswered(w.size / 2)
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := lost.Await(ctx, w.caught()); err != nil {
		return err
	}
	var gone []*message
	err := framework.Await(ctx, "resources were deleted by their TTL", func(ctx context.Context) (string, bool, error) {
		var err error
		gone, err = w.gone(ctx)
		return fmt.Sprintf("%d of them", len(gone)), len(gone) >= w.size/5, err
	})
	if err != nil {
		return err
	}
	if err := w.each(ctx, gone, remake); err != nil {
		return err
	}
	if err := w.overtake(ctx, lost); err != nil {
		return err
	}
	if err := errors.Join(w.send(ctx, w.size/10), w.finished(ctx)); err != nil {
		return err
	}
	// And once more, all of them.
	return w.each(ctx, w.messages, remake)
}

// gone are the messages whose resources are.
func (w *world) gone(ctx context.Context) ([]*message, error) {
	objects, err := w.objects(ctx, w.lane.admin)
	return slices.DeleteFunc(slices.Clone(w.messages), func(m *message) bool { return objects[m.uid] != nil }), err
}

// inspectDeleted looks at what resources said when they were deleted: nobody can
// later.
func (w *world) inspectDeleted(ctx context.Context) error {
	informer, err := w.lane.seen.GetInformer(ctx, &v1alpha1.TeamTalkMessage{})
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(deleted any) {
		o, ok := deleted.(*v1alpha1.TeamTalkMessage)
		if !ok || o.Namespace != w.namespace || meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionDelivered) {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.odd = append(w.odd, fmt.Sprintf("%s was deleted as %s", o.Name, state(o)))
	}})
	return err
}
