// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// attemptTTL is longer than any server may take to settle and its replicas to catch up.
const attemptTTL = 15 * time.Minute

// keyedAttempts remembers when this process last sent a message with a key. Its resource may have been deleted,
// and another one with the key created: what was sent for the first one may not be in the store yet.
type keyedAttempts struct {
	// sentAt holds the last moment at which a message with a token may have been sent.
	sentAt *cache.Expiring

	mu sync.Mutex
	// claimed tokens may be sent at any moment.
	claimed sets.Set[cipher.Token]
}

func newKeyedAttempts() *keyedAttempts {
	return &keyedAttempts{sentAt: cache.NewExpiring(), claimed: sets.Set[cipher.Token]{}}
}

// claim reserves a token for one send. ok is false if another send has the token, or may have happened since
// askedAt, when the store was searched: the search proves nothing then. release must be called with whether the
// message may have been sent.
func (a *keyedAttempts) claim(token cipher.Token, askedAt time.Time) (release func(sent bool), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, known := a.lookup(token); known && !last.Before(askedAt) {
		return nil, false
	}
	a.claimed.Insert(token)
	return func(sent bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.claimed.Delete(token)
		if sent {
			a.sentAt.Set(token, time.Now(), attemptTTL)
		}
	}, true
}

// latest returns the last moment at which a message with the token may have been sent.
func (a *keyedAttempts) latest(token cipher.Token) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lookup(token)
}

// lookup is latest with the lock held.
func (a *keyedAttempts) lookup(token cipher.Token) (time.Time, bool) {
	if a.claimed.Has(token) {
		return time.Now(), true
	}
	last, known := a.sentAt.Get(token)
	if !known {
		return time.Time{}, false
	}
	return last.(time.Time), true
}
