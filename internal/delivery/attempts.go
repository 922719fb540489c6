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

// note remembers that what bears the token may have left until now.
func (a *attempts) note(token cipher.Token, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[cipher.Token]time.Time{}
	}
	a.at[token] = now
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

// latest returns the later of the last attempt and sentBy.
func (a *attempts) latest(token cipher.Token, sentBy time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.at[token]; at.After(sentBy) {
		return at
	}
	return sentBy
}
