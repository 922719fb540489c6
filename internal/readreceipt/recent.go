// SPDX-License-Identifier: Apache-2.0

package readreceipt

import "time"

const (
	// recentAge is how long notifies are remembered at least: longer than db_proxy takes to answer.
	recentAge = 10 * time.Second
	// maxRecent bounds the conversations that are remembered of that time: about 2 MB.
	maxRecent = 10_000
)

// recentReads are the latest notifies of conversations. A message can be read before db_proxy's answer arrives, and so
// before it is tracked.
type recentReads struct {
	older, current recentPeriod
}

// recentPeriod are the notifies since a time.
type recentPeriod struct {
	began time.Time
	last  map[conversation]lastRead
}

// lastRead sums up the notifies of a conversation.
type lastRead struct {
	at   time.Time
	upTo uint32 // the highest id
	user uint32 // 0: several
}

// add remembers a notify. The older period ends when the current one is over, or full.
func (r *recentReads) add(n notify) {
	if now := time.Now(); r.current.last == nil || now.Sub(r.current.began) >= recentAge ||
		len(r.current.last) >= maxRecent {
		if r.current.last != nil {
			r.older = r.current
		}
		r.current = recentPeriod{began: now, last: map[conversation]lastRead{}}
	}
	c := n.conversation()
	last, known := r.current.last[c]
	if known && last.user != n.User {
		last.user = 0
	} else {
		last.user = n.User
	}
	last.at, last.upTo = n.at, max(last.upTo, n.UpTo)
	r.current.last[c] = last
}

// mayHave reports whether somebody else than its sender may have read a message since a time. It is true if that time
// is too long ago.
func (r *recentReads) mayHave(c conversation, id, sender uint32, since time.Time) bool {
	if since.Before(r.older.began) {
		return true
	}
	for _, p := range []recentPeriod{r.older, r.current} {
		last, ok := p.last[c]
		if ok && last.upTo >= id && last.user != sender && !last.at.Before(since) {
			return true
		}
	}
	return false
}
