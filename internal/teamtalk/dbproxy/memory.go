// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// DefaultMemory is enough for about 16 of the longest answers about 200 users at once.
	DefaultMemory = 64 << 20
	// shares is the number of clients that can use all of a Memory.
	shares = 8
	// parsedSize is what an answer takes, while it is parsed, for each of its bytes: itself, and what the shortest
	// elements become, which are numbers of one byte.
	parsedSize = 5
	// memoryPatience is how long an answer waits for memory. Answers on its connection wait meanwhile.
	memoryPatience = time.Second
)

// errNoMemory reports an answer that was skipped.
var errNoMemory = errors.New("other answers take the memory for it")

// Memory limits the memory that answers take while they are read and parsed, for all clients of a process. Answers of
// up to pdu.MaxSmall do not count: the limits of connections and of requests in flight bound them. It is safe for
// concurrent use.
type Memory struct {
	bytes *semaphore.Weighted
	// share is what one client may use at most, so that one slow server does not delay others.
	share int64
}

// NewMemory returns a Memory of so many bytes.
func NewMemory(bytes int64) *Memory {
	return &Memory{bytes: semaphore.NewWeighted(bytes), share: bytes / shares}
}

// clientMemory is one client's share of a Memory.
type clientMemory struct {
	*Memory
	own *semaphore.Weighted
}

func (m *Memory) forClient() clientMemory { return clientMemory{m, semaphore.NewWeighted(m.share)} }

// acquire waits for the memory of an answer with so many bytes, until ctx is done or its patience ends. The holder
// does not wait for more, so there is no deadlock.
func (m clientMemory) acquire(ctx context.Context, length int) (release func(), ok bool) {
	n := min(int64(length)*parsedSize, m.share)
	ctx, cancel := context.WithTimeout(ctx, memoryPatience)
	defer cancel()
	if m.own.Acquire(ctx, n) != nil {
		return nil, false
	}
	if m.bytes.Acquire(ctx, n) != nil {
		m.own.Release(n)
		return nil, false
	}
	return func() {
		m.bytes.Release(n)
		m.own.Release(n)
	}, true
}
