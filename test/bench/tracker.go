// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tracker watches the messages of a namespace and knows when each was first seen Finished.
type tracker struct {
	stop func()

	mu     sync.Mutex
	ended  map[string]ending
	broken error // why there is no watch any more
}

type ending struct {
	at        time.Time
	delivered bool
	reason    string
}

func (w *world) track(ctx context.Context) *tracker {
	ctx, cancel := context.WithCancel(ctx)
	open := func() (watch.Interface, error) {
		return w.admin.Watch(ctx, &v1alpha1.TeamTalkMessageList{}, client.InNamespace(namespace))
	}
	events, err := open()
	if err != nil {
		cancel()
		framework.Mustf(err, "watch the messages")
	}
	t := &tracker{ended: map[string]ending{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for err == nil {
			t.follow(events)
			if ctx.Err() != nil {
				return
			}
			// A new watch begins with all messages, so that nothing is missed.
			say("  the API server has ended the watch of the messages, which begins again")
			events, err = open()
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.broken = err
	})
	t.stop = func() { cancel(); wg.Wait() }
	return t
}

// follow notes what a watch shows until it ends.
func (t *tracker) follow(events watch.Interface) {
	defer events.Stop()
	for e := range events.ResultChan() {
		at := time.Now()
		if m, ok := e.Object.(*v1alpha1.TeamTalkMessage); ok && m.Finished() {
			t.note(m, at)
		}
	}
}

func (t *tracker) note(m *v1alpha1.TeamTalkMessage, at time.Time) {
	c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionDelivered)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.ended[m.Name]; !known && c != nil {
		t.ended[m.Name] = ending{at: at, delivered: c.Status == "True", reason: c.Reason}
	}
}

func (t *tracker) endOf(name string) (e ending, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	framework.Mustf(t.broken, "watch the messages")
	e, ok = t.ended[name]
	return e, ok
}

func (t *tracker) count(names []string) (n int) {
	for _, name := range names {
		if _, ok := t.endOf(name); ok {
			n++
		}
	}
	return n
}

// firstDelivered returns when the first of the messages was delivered, if one was.
func (t *tracker) firstDelivered(names []string) (first time.Time, ok bool) {
	for _, name := range names {
		if e, _ := t.endOf(name); e.delivered && (!ok || e.at.Before(first)) {
			first, ok = e.at, true
		}
	}
	return first, ok
}

func (t *tracker) awaitEnd(ctx context.Context, name string) (e ending) {
	until(ctx, "message "+name+" has finished", func(context.Context) (ok bool) {
		e, ok = t.endOf(name)
		return ok
	})
	return e
}

// await waits until each message was delivered, and returns when the last one was. Another end is an error.
func (t *tracker) await(ctx context.Context, names ...string) (last time.Time) {
	for _, name := range names {
		e := t.awaitEnd(ctx, name)
		if !e.delivered {
			framework.Failf("message %s ended as %s", name, e.reason)
		}
		if e.at.After(last) {
			last = e.at
		}
	}
	return last
}
