// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// locks has a lock per receiver. Those that nobody waits for are dropped.
type locks struct {
	mu    sync.Mutex
	holds map[types.NamespacedName]*hold
}

type hold struct {
	slot    chan struct{}
	waiting int
}

// take waits for the lock; release must be called then.
func (l *locks) take(ctx context.Context, key types.NamespacedName) (release func(), err error) {
	l.mu.Lock()
	if l.holds == nil {
		l.holds = map[types.NamespacedName]*hold{}
	}
	held := l.holds[key]
	if held == nil {
		held = &hold{slot: make(chan struct{}, 1)}
		l.holds[key] = held
	}
	held.waiting++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if held.waiting--; held.waiting == 0 {
			delete(l.holds, key)
		}
	}
	select {
	case held.slot <- struct{}{}:
		return func() { <-held.slot; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
