// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/types"
)

// These protect the memory of the process, so they apply to the whole process.
var (
	// rendering limits the texts that are rendered concurrently.
	rendering = newConcurrencyLimit(4)
	// largeBodies limits the large bodies that are decoded concurrently.
	largeBodies = newConcurrencyLimit(4)
)

// concurrencyLimit is a semaphore with at most one slot for each receiver, so that a receiver with many requests does
// not block others.
type concurrencyLimit struct {
	receivers keyedMutex
	slots     *semaphore.Weighted
}

func newConcurrencyLimit(slots int64) *concurrencyLimit {
	return &concurrencyLimit{slots: semaphore.NewWeighted(slots)}
}

// acquire waits for a slot. The caller calls release unless there is an error, which is that of ctx.
func (l *concurrencyLimit) acquire(ctx context.Context, receiver types.NamespacedName) (release func(), err error) {
	unlock, err := l.receivers.lock(ctx, receiver)
	if err != nil {
		return nil, err
	}
	if err := l.slots.Acquire(ctx, 1); err != nil {
		unlock()
		return nil, err
	}
	return func() { l.slots.Release(1); unlock() }, nil
}

// keyedMutex is a mutex for each key. It keeps those that are locked or waited for.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[types.NamespacedName]*keyedLock
}

type keyedLock struct {
	*semaphore.Weighted
	users int // guarded by keyedMutex.mu
}

// lock waits for the mutex of a key. The caller calls unlock unless there is an error, which is that of ctx.
func (m *keyedMutex) lock(ctx context.Context, key types.NamespacedName) (unlock func(), err error) {
	m.mu.Lock()
	if m.locks == nil {
		m.locks = map[types.NamespacedName]*keyedLock{}
	}
	l := m.locks[key]
	if l == nil {
		l = &keyedLock{Weighted: semaphore.NewWeighted(1)}
		m.locks[key] = l
	}
	l.users++
	m.mu.Unlock()

	leave := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(m.locks, key)
		}
	}
	if err := l.Acquire(ctx, 1); err != nil {
		leave()
		return nil, err
	}
	return func() { l.Release(1); leave() }, nil
}
