package delivery

import (
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// attemptLife is how long an attempt is remembered: longer than any server may
// take to settle and its replicas to catch up.
const attemptLife = 15 * time.Minute

// attempts remembers when this process last sent what bears a key. The resource
// may have been deleted since, and another with its key created: what was sent for
// the first one may still be on its way into the store.
type attempts struct {
	mu      sync.Mutex
	at      map[cipher.Token]time.Time
	sweepAt time.Time
}

// claim notes that what bears the token is about to leave, unless it may have left
// since askedAt, when the store was asked for it on behalf of the caller: that
// answer proves nothing any more, and claim returns false.
func (a *attempts) claim(token cipher.Token, askedAt, now time.Time) (release func(sent bool), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, known := a.at[token]
	if known && !before.Before(askedAt) {
		return nil, false
	}
	if a.at == nil {
		a.at = map[cipher.Token]time.Time{}
	}
	a.at[token] = now
	a.sweep(now)
	return func(sent bool) { a.release(token, now, before, sent) }, true
}

// release ends a claim: what was sent may have left until now; what was not is as
// it was before.
func (a *attempts) release(token cipher.Token, claimed, before time.Time, sent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case sent:
		a.at[token] = time.Now()
	case !a.at[token].Equal(claimed):
	case before.IsZero():
		delete(a.at, token)
	default:
		a.at[token] = before
	}
}

// sweep drops what is outdated, now and then. It needs the lock.
func (a *attempts) sweep(now time.Time) {
	if now.Before(a.sweepAt) {
		return
	}
	for token, at := range a.at {
		if now.Sub(at) > attemptLife {
			delete(a.at, token)
		}
	}
	a.sweepAt = now.Add(attemptLife / 4)
}

// latest returns when what bears the token may last have left.
func (a *attempts) latest(token cipher.Token) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.at[token]
	return at, ok
}
