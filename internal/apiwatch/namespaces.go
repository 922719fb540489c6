// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// Namespaces holds a value for each namespace in use. A value is created on first use, and ends after it was unused for
// a while. If too many are unused, the longest unused end first: callers may name any namespace.
type Namespaces[T any] struct {
	ctx       context.Context
	cancel    context.CancelFunc
	create    func(namespace string) (value T, run func(ctx context.Context))
	idle      time.Duration
	maxUnused int

	mu         sync.Mutex
	entries    map[string]*namespaceEntry[T]
	goroutines sync.WaitGroup
}

// namespaceEntry is the value of a namespace, guarded by Namespaces.mu.
type namespaceEntry[T any] struct {
	value    T
	stop     context.CancelFunc
	users    int
	lastUsed time.Time
}

// NewNamespaces returns empty Namespaces. create returns the value of a namespace, and a function that runs for it
// until its ctx is done. Values end after they are unused for idle. At most maxUnused are unused.
func NewNamespaces[T any](
	create func(namespace string) (value T, run func(ctx context.Context)), idle time.Duration, maxUnused int,
) *Namespaces[T] {
	n := &Namespaces[T]{create: create, idle: idle, maxUnused: maxUnused, entries: map[string]*namespaceEntry[T]{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// Run ends unused values until ctx is done, and then all. It returns when all of their functions have returned.
func (n *Namespaces[T]) Run(ctx context.Context) {
	wait.UntilWithContext(ctx, func(context.Context) { n.evict() }, n.idle/10)
	n.mu.Lock()
	n.cancel()
	n.mu.Unlock()
	n.goroutines.Wait()
}

// Acquire returns the value of a namespace. release must be called when it is not used any more. The error is that Run
// has ended.
func (n *Namespaces[T]) Acquire(namespace string) (value T, release func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return value, nil, errors.New("shutting down")
	}
	e, ok := n.entries[namespace]
	if !ok {
		e = &namespaceEntry[T]{}
		var run func(context.Context)
		var ctx context.Context
		e.value, run = n.create(namespace)
		ctx, e.stop = context.WithCancel(n.ctx)
		n.entries[namespace] = e
		n.goroutines.Go(func() { run(ctx) })
	}
	e.users++
	return e.value, func() { n.release(e) }, nil
}

func (n *Namespaces[T]) release(e *namespaceEntry[T]) {
	n.mu.Lock()
	e.users--
	e.lastUsed = time.Now()
	crowded := len(n.entries) > n.maxUnused
	n.mu.Unlock()
	if crowded {
		n.evict()
	}
}

// evict ends values that were unused for too long, and the longest unused over the limit.
func (n *Namespaces[T]) evict() {
	n.mu.Lock()
	defer n.mu.Unlock()
	unused := slices.DeleteFunc(slices.Collect(maps.Keys(n.entries)), func(namespace string) bool {
		return n.entries[namespace].users > 0
	})
	slices.SortFunc(unused, func(a, b string) int {
		return n.entries[b].lastUsed.Compare(n.entries[a].lastUsed)
	})
	for i, namespace := range unused {
		if e := n.entries[namespace]; i >= n.maxUnused || time.Since(e.lastUsed) >= n.idle {
			e.stop()
			delete(n.entries, namespace)
		}
	}
}
