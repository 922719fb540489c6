// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// attemptTTL is longer than any server may take to settle and its replicas to catch up.
const attemptTTL = 15 * time.Minute

// keyedAttempts remembers when this process last sent a message with a key. Its resource may have been deleted, and
// another one with the same key created, before the store shows the first message.
type keyedAttempts struct {
	// sent holds the attempts of a token.
	sent *cache.Expiring

	mu sync.Mutex
	// claimed tokens may be sent at any moment, since a time.
	claimed map[cipher.Token]time.Time
}

// attempts may have been sent at any moment from the first to the last.
type attempts struct{ first, last time.Time }

func newKeyedAttempts() *keyedAttempts {
	return &keyedAttempts{sent: cache.NewExpiring(), claimed: map[cipher.Token]time.Time{}}
}

// claim reserves a token for one send. ok is false if another send has the token, or may have happened since
// askedAt, when the store was searched: the search proves nothing then. release must be called with whether the
// message may have been sent.
func (a *keyedAttempts) claim(token cipher.Token, askedAt time.Time) (release func(sent bool), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, known := a.lookup(token)
	if known && !before.last.Before(askedAt) {
		return nil, false
	}
	began := time.Now()
	a.claimed[token] = began
	return func(sent bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.claimed, token)
		if sent {
			if known {
				began = before.first
			}
			a.sent.Set(token, attempts{began, time.Now()}, attemptTTL)
		}
	}, true
}

// latest returns the attempts with a token. It returns false if none is remembered.
func (a *keyedAttempts) latest(token cipher.Token) (attempts, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lookup(token)
}

// lookup is latest with the lock held.
func (a *keyedAttempts) lookup(token cipher.Token) (attempts, bool) {
	remembered, known := a.sent.Get(token)
	found, _ := remembered.(attempts)
	if began, claimed := a.claimed[token]; claimed {
		if !known {
			found.first = began
		}
		found.last = time.Now()
		return found, true
	}
	return found, known
}
