// SPDX-License-Identifier: Apache-2.0

package httpserver

import "sync"

// callerLimiter limits the requests in flight of each caller, so that no caller can use the whole limit of the server.
type callerLimiter struct {
	limit int

	mu       sync.Mutex
	inFlight map[string]int
}

func newCallerLimiter(limit int) *callerLimiter {
	return &callerLimiter{limit: limit, inFlight: map[string]int{}}
}

// acquire reports whether the caller is below its limit, and then counts one more request.
func (l *callerLimiter) acquire(caller string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight[caller] >= l.limit {
		return false
	}
	l.inFlight[caller]++
	return true
}

func (l *callerLimiter) release(caller string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inFlight[caller]--; l.inFlight[caller] == 0 {
		delete(l.inFlight, caller)
	}
}
