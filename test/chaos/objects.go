package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
)

func objectScenarios() []scenario {
	return []scenario{
		{
			name: "secret-rotated", clause: "the key is replaced while messages are under way and in doubt",
			bound: retryBound, short: true, run: secretRotated,
		},
		{
			name: "edited", clause: "resources are edited while their messages are under way, and after they have failed",
			bound: retryBound, short: true, run: edited,
		},
		{
			name: "deleted", clause: "resources are deleted while their messages are under way",
			bound: retryBound, short: true, run: deleted,
		},
		{
			name: "recreated", clause: "resources are deleted and others made of their names while messages are under way",
			bound: retryBound, short: true, run: recreated,
		},
		{
			name: "restored", clause: "the cluster comes back from a backup taken before the send: with an idempotencyKey nothing is sent twice",
			bound: retryBound, alone: true, short: true, run: restored,
		},
	}
}

// slowly delays answers so that there is time to do something mid-flight.
func (w *world) slowly() *faultproxy.Armed {
	return w.db.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages, Do: faultproxy.Delay(500 * time.Millisecond)})
}

func secretRotated(ctx context.Context, w *world) error {
	cut := w.doubtful(false)
	slow := w.slowly()
	if err := w.send(ctx, w.size/2); err != nil {
		return err
	}
	if err := errors.Join(cut.Await(ctx, 1), slow.Await(ctx, 1)); err != nil {
		return err
	}
	if err := w.lane.admin.Update(ctx, w.secret(secondKey, w.keys[0])); err != nil {
		return err
	}
	w.counts(func() int { return 1 })
	slow.Remove()
	return w.send(ctx, w.size-w.size/2)
}

// absent is a user that no TeamTalk has.
const absent = 2147483646

func edited(ctx context.Context, w *world) error {
	slow := w.slowly()
	var edits atomic.Int64
	w.counts(func() int { return int(edits.Load()) })
	failing := func(m *message) bool { return m.number%5 == 1 && !m.to.group }
	w.mu.Lock()
	w.misdirect = failing
	w.mu.Unlock()
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	err := w.each(ctx, w.messages, func(ctx context.Context, m *message) error {
		if failing(m) {
			return nil
		}
		for limit := range 3 {
			if err := w.patch(ctx, m, fmt.Sprintf(`{"metadata":{"labels":{"edit":"%d"}},"spec":{"retryLimit":%d}}`, limit, 10+limit)); err != nil {
				return err
			}
			edits.Add(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	slow.Remove()
	if err := w.finished(ctx); err != nil {
		return err
	}
	// Those that failed are sent once they are put right, and edited again meanwhile.
	return w.each(ctx, w.messages, func(ctx context.Context, m *message) error {
		if !failing(m) {
			return nil
		}
		edits.Add(1)
		return errors.Join(
			w.patch(ctx, m, fmt.Sprintf(`{"spec":{"to":{"users":[%d]}}}`, m.to.id)),
			w.patch(ctx, m, `{"spec":{"retryLimit":7}}`))
	})
}

func (w *world) patch(ctx context.Context, m *message, patch string) error {
	return w.lane.admin.Patch(ctx, w.object(m), client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// someEvery: each n-th message is the one that something is done to.
const someEvery = 3

func deleted(ctx context.Context, w *world) error {
	return w.remove(ctx, func(context.Context, *message) error { return nil })
}

func recreated(ctx context.Context, w *world) error {
	return w.remove(ctx, func(ctx context.Context, m *message) error {
		w.mu.Lock()
		again := &message{number: len(w.messages) + 1, name: m.name, to: m.to}
		w.messages = append(w.messages, again)
		w.mu.Unlock()
		o := w.object(again)
		err := w.lane.admin.Create(ctx, o)
		again.uid = o.UID
		return err
	})
}

// remove deletes some of the messages while they are under way.
func (w *world) remove(ctx context.Context, then func(context.Context, *message) error) error {
	slow := w.slowly()
	defer slow.Remove()
	w.doubtful(false)
	var removed atomic.Int64
	w.counts(func() int { return int(removed.Load()) })
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := slow.Await(ctx, 1); err != nil {
		return err
	}
	var some []*message
	for _, m := range w.messages {
		if m.number%someEvery == 0 {
			some = append(some, m)
		}
	}
	return w.each(ctx, some, func(ctx context.Context, m *message) error {
		m.want = atMostOnce
		if err := w.lane.admin.Delete(ctx, w.object(m)); err != nil {
			return err
		}
		removed.Add(1)
		return then(ctx, m)
	})
}

func restored(ctx context.Context, w *world) error {
	for range w.size {
		number := len(w.messages) + 1
		w.messages = append(w.messages, &message{number: number, name: fmt.Sprintf("m-%d", number), to: w.recipientOf(number)})
	}
	w.doubtful(false)
	create := func(ctx context.Context, m *message) error {
		o := w.object(m)
		o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("TeamTalkMessage"))
		u, err := keyed(o, fmt.Sprintf("%s-%d", w.id, m.number))
		if err != nil {
			return err
		}
		if err := w.lane.admin.Create(ctx, u); err != nil {
			return err
		}
		m.uid = u.GetUID()
		return nil
	}
	if err := w.each(ctx, w.messages, create); err != nil {
		return err
	}
	// Some are done, some under way, when the cluster is set back.
	err := w.await(ctx, "half of the messages are finished", func(ctx context.Context) (string, bool, error) {
		n, err := w.finishedCount(ctx)
		return fmt.Sprintf("%d of them", n), n >= w.size/2, err
	})
	if err != nil {
		return err
	}
	// The worst of all backups: its Lease says that nothing was in flight, and its
	// resources know nothing of having been sent.
	if err := w.leader.Stop(ctx); err != nil {
		return err
	}
	var forgotten atomic.Int64
	w.counts(func() int { return int(forgotten.Load()) })
	err = w.each(ctx, w.messages, func(ctx context.Context, m *message) error {
		if err := w.lane.admin.Delete(ctx, w.object(m)); err != nil {
			return err
		}
		forgotten.Add(1)
		return create(ctx, m)
	})
	if err != nil {
		return err
	}
	next, err := w.start(ctx)
	if err != nil {
		return err
	}
	return w.ledCleanly(ctx, next)
}

// keyed gives a message an idempotencyKey.
func keyed(o *v1alpha1.TeamTalkMessage, key string) (*unstructured.Unstructured, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	delete(fields, "status")
	u := &unstructured.Unstructured{Object: fields}
	return u, unstructured.SetNestedField(u.Object, key, "spec", "idempotencyKey")
}
