// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// tracker follows the messages of a namespace in a watch and knows when each was
// first seen Finished: what anyone sees who waits for a message.
type tracker struct {
	stop func()

	mu      sync.Mutex
	changed chan struct{} // closed at each change, and replaced
	ended   map[string]ending
	broken  error
}

// ending is how a message ended.
type ending struct {
	at        time.Time
	delivered bool
	reason    string
}

// track begins to follow. Its stop must be called.
func (w *world) track(ctx context.Context) (*tracker, error) {
	ctx, cancel := context.WithCancel(ctx)
	open := func() (watch.Interface, error) {
		events, err := w.admin.Watch(ctx, &v1alpha1.TeamTalkMessageList{}, client.InNamespace(namespace))
		if err != nil {
			return nil, fmt.Errorf("watch the messages: %w", err)
		}
		return events, nil
	}
	events, err := open()
	if err != nil {
		cancel()
		return nil, err
	}
	t := &tracker{changed: make(chan struct{}), ended: map[string]ending{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			t.follow(events)
			if ctx.Err() != nil {
				return
			}
			// The API server ends watches as it sees fit. A new one begins with all that
			// there is, so that nothing is missed.
			say("  the API server has ended the watch of the messages, which begins again")
			if events, err = open(); err != nil {
				t.breakOff(err)
				return
			}
		}
	})
	t.stop = func() { cancel(); wg.Wait() }
	return t, nil
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
	if _, known := t.ended[m.Name]; known || c == nil {
		return
	}
	t.ended[m.Name] = ending{at: at, delivered: c.Status == "True", reason: c.Reason}
	t.wake()
}

func (t *tracker) breakOff(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.broken = err
	t.wake()
}

// wake needs the lock.
func (t *tracker) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// count returns how many of the messages have ended, and what wakes who waits for more.
func (t *tracker) count(names []string) (n int, changed <-chan struct{}, broken error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if _, ok := t.ended[name]; ok {
			n++
		}
	}
	return n, t.changed, t.broken
}

// awaitCount waits until that many of the messages have ended.
func (t *tracker) awaitCount(ctx context.Context, names []string, want int) error {
	timeout := time.After(patience)
	for {
		n, changed, broken := t.count(names)
		switch {
		case n >= want:
			return nil
		case broken != nil:
			return broken
		}
		select {
		case <-changed:
		case <-timeout:
			return fmt.Errorf("%d of %d messages have finished within %s", n, want, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// firstDelivered returns when the first of the messages was delivered, if one was.
func (t *tracker) firstDelivered(names []string) (first time.Time, ok bool, broken error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		if e := t.ended[name]; e.delivered && (!ok || e.at.Before(first)) {
			first, ok = e.at, true
		}
	}
	return first, ok, t.broken
}

// awaitEnd waits until the message has ended, whichever way.
func (t *tracker) awaitEnd(ctx context.Context, name string) (ending, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	return t.awaitOne(ctx, name, timeout.C)
}

// await waits until each of the messages has ended and returns when the last one
// did. One that was not delivered is an error: what failed fast is not fast.
func (t *tracker) await(ctx context.Context, names ...string) (time.Time, error) {
	var last time.Time
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for _, name := range names {
		e, err := t.awaitOne(ctx, name, timeout.C)
		if err != nil {
			return last, err
		}
		if !e.delivered {
			return last, fmt.Errorf("message %s ended as %s", name, e.reason)
		}
		if e.at.After(last) {
			last = e.at
		}
	}
	return last, nil
}

func (t *tracker) awaitOne(ctx context.Context, name string, timeout <-chan time.Time) (ending, error) {
	for {
		t.mu.Lock()
		e, ok := t.ended[name]
		changed, broken := t.changed, t.broken
		t.mu.Unlock()
		switch {
		case ok:
			return e, nil
		case broken != nil:
			return ending{}, broken
		}
		select {
		case <-changed:
		case <-timeout:
			return ending{}, fmt.Errorf("message %s has not finished within %s", name, patience)
		case <-ctx.Done():
			return ending{}, ctx.Err()
		}
	}
}
