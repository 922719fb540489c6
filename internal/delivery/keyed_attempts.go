package delivery

import (
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// attemptLife is how long an attempt is remembered: longer than any server may
// take to settle and its replicas to catch up.
const attemptLife = 15 * time.Minute

// keyedAttempts remembers when this process last sent what bears a key. The resource
// may have been deleted since, and another with its key created: what was sent for
// the first one may still be on its way into the store.
type keyedAttempts struct {
	mu      sync.Mutex
	at      map[cipher.Token]attempt
	sweepAt time.Time
}

// attempt is the last one with a token.
type attempt struct {
	// at is when it may last have left; zero: never.
	at time.Time
	// open: it may leave at any moment.
	open bool
}

// claim notes that what bears the token is about to leave, until it is released.
// It returns false where it is already, or may have left since askedAt, when the
// store was asked for it on behalf of the caller: that answer proves nothing any
// more.
func (a *keyedAttempts) claim(token cipher.Token, askedAt, now time.Time) (release func(sent bool), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, known := a.at[token]
	if known && (last.open || !last.at.Before(askedAt)) {
		return nil, false
	}
	if a.at == nil {
		a.at = map[cipher.Token]attempt{}
	}
	a.at[token] = attempt{at: last.at, open: true}
	a.sweep(now)
	return func(sent bool) { a.release(token, sent) }, true
}

// release ends a claim: what was sent may have left until now; what was not is as
// it was before.
func (a *keyedAttempts) release(token cipher.Token, sent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.at[token].at
	if sent {
		last = time.Now()
	}
	if a.at[token] = (attempt{at: last}); last.IsZero() {
		delete(a.at, token)
	}
}

// sweep drops what is outdated, now and then. It needs the lock.
func (a *keyedAttempts) sweep(now time.Time) {
	if now.Before(a.sweepAt) {
		return
	}
	for token, last := range a.at {
		if !last.open && now.Sub(last.at) > attemptLife {
			delete(a.at, token)
		}
	}
	a.sweepAt = now.Add(attemptLife / 4)
}

// latest returns when what bears the token may last have left.
func (a *keyedAttempts) latest(token cipher.Token) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last, ok := a.at[token]
	if last.open {
		return time.Now(), true
	}
	return last.at, ok
}
