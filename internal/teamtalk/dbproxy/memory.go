// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

const (
	// DefaultMemory is enough for eight of the longest answers.
	DefaultMemory = 64 << 20
	// shares is the number of tenants that can use all of a Memory. The share of one is enough for any answer.
	shares = 8
	// parsedSize is the memory of an answer for each of its bytes, while it is read and parsed. It covers the byte,
	// the parsed form of the shortest elements (numbers of one byte), and the garbage of their growing list. rowSize
	// is the same for a row, whose content is copied once.
	parsedSize, rowSize = 8, 2
	// maxAnswer is the longest answer, in bytes, that is not read row by row, and maxRow the longest row.
	maxAnswer = DefaultMemory / shares / parsedSize
	maxRow    = DefaultMemory / shares / rowSize
	// memoryChunk is for how many bytes of an answer memory is reserved at once, before they are read.
	memoryChunk = 64 << 10
	// memoryPatience is how long an answer waits for memory. Answers on its connection wait meanwhile.
	memoryPatience = time.Second
)

// Memory limits the memory that answers take while they are read and parsed, for all clients of a process. A tenant
// may use a fixed share of it, and tenants take turns when all of it is used. Answers of up to pdu.MaxSmall do not
// count: the limits of connections and of requests in flight bound them. It is safe for concurrent use.
type Memory struct {
	limit, share int

	mu      sync.Mutex
	used    int
	tenants map[string]int
	waiting fairqueue.Queue[*memoryWaiter]
}

// memoryWaiter waits for n bytes.
type memoryWaiter struct {
	tenant  string
	n       int
	granted chan struct{} // closed under mu
}

// NewMemory returns a Memory of so many bytes.
func NewMemory(bytes int) *Memory {
	return &Memory{limit: bytes, share: bytes / shares, tenants: map[string]int{}}
}

// acquire waits for n bytes, for some time at most.
func (m *Memory) acquire(ctx context.Context, tenant string, n int, patience time.Duration) bool {
	w := &memoryWaiter{tenant: tenant, n: n, granted: make(chan struct{})}
	m.mu.Lock()
	item := m.waiting.Push(fairqueue.Flow{Tenant: tenant}, w)
	m.grant()
	m.mu.Unlock()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.granted:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.waiting.Remove(item) {
		return true // it was granted meanwhile
	}
	m.grant() // what waited behind it may take less
	return false
}

// release returns n bytes.
func (m *Memory) release(tenant string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
	if m.tenants[tenant] -= n; m.tenants[tenant] == 0 {
		delete(m.tenants, tenant)
	}
	m.grant()
}

// grant grants what there is. It needs mu.
func (m *Memory) grant() {
	for {
		w, ok := m.waiting.Next(func(w *memoryWaiter) bool {
			return m.used+w.n <= m.limit && m.tenants[w.tenant]+w.n <= m.share
		})
		if !ok {
			return
		}
		m.used += w.n
		m.tenants[w.tenant] += w.n
		close(w.granted)
	}
}

// reservation is the memory of one answer. Announced bytes take none, only received bytes do.
type reservation struct {
	memory *Memory
	tenant string
	held   int
	waited time.Duration
}

// grow waits for n more bytes. An answer that holds some of its tenant's share may wait for the rest beside another
// one; both give up after memoryPatience.
func (r *reservation) grow(ctx context.Context, n int) bool {
	began := time.Now()
	if !r.memory.acquire(ctx, r.tenant, n, memoryPatience-r.waited) {
		return false
	}
	r.waited += time.Since(began)
	r.held += n
	return true
}

func (r *reservation) release() { r.memory.release(r.tenant, r.held) }
