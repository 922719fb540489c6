// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// attemptTTL is longer than any server may take to settle and its replicas to catch up.
const attemptTTL = 15 * time.Minute

// keyedAttempts remembers when this process last sent a message with a key. Its resource
// may have been deleted, and another one with the key created: what was sent for the
// first one may not be in the store yet.
type keyedAttempts struct {
	mu      sync.Mutex
	last    map[cipher.Token]attempt
	sweepAt time.Time
}

// attempt is the last one with a token.
type attempt struct {
	// sentAt is the last moment at which it may have been sent; zero: never.
	sentAt time.Time
	// claimed: it may be sent at any moment.
	claimed bool
}

// claim reserves a token for one send. ok is false if another send has the token, or may
// have happened since askedAt, when the store was searched: the search proves nothing
// then. release must be called with whether the message may have been sent.
func (a *keyedAttempts) claim(token cipher.Token, askedAt, now time.Time) (release func(sent bool), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, known := a.last[token]
	if known && (last.claimed || !last.sentAt.Before(askedAt)) {
		return nil, false
	}
	if a.last == nil {
		a.last = map[cipher.Token]attempt{}
	}
	a.last[token] = attempt{sentAt: last.sentAt, claimed: true}
	a.sweep(now)
	return func(sent bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case sent:
			a.last[token] = attempt{sentAt: time.Now()}
		case known:
			a.last[token] = last
		default:
			delete(a.last, token)
		}
	}, true
}

// sweep deletes outdated attempts at intervals. It needs the lock.
func (a *keyedAttempts) sweep(now time.Time) {
	if now.Before(a.sweepAt) {
		return
	}
	for token, last := range a.last {
		if !last.claimed && now.Sub(last.sentAt) > attemptTTL {
			delete(a.last, token)
		}
	}
	a.sweepAt = now.Add(attemptTTL / 4)
}

// latest returns the last moment at which a message with the token may have been sent.
func (a *keyedAttempts) latest(token cipher.Token) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.last[token]
	if last.claimed {
		return time.Now(), true
	}
	return last.sentAt, ok
}
