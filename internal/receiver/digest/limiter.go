// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// manyNamed is the number of recipients of one alert from which on they share a digest, because a digest for each
	// would need too many writes. maxShared limits such shared digests in a window.
	manyNamed, maxShared = 32, 4
)

// Notification is a notification on which to decide.
type Notification struct {
	// Hash identifies it. Repeats have the same hash.
	Hash string
	To   []v1alpha1.Recipient
	// Number of its newest message, 0 if there is none.
	Number int
	// Recent: its newest message is younger than the dedup window.
	Recent bool
	// Line is its line in a digest. It is called while the state is held, and only if the line may fit. It must not take
	// longer than ctx.
	Line func(ctx context.Context) string
}

// Decision is the decision on a notification.
type Decision struct {
	// Fresh: it was decided now. Otherwise it repeats one that was decided before, of which some may remain to be done.
	Fresh bool
	// Suppressed: it is in the digest of at least one recipient.
	Suppressed bool
	// To are the recipients who get a message, under the number. Time is the time of the decision.
	To     []v1alpha1.Recipient
	Number int
	Time   time.Time
}

// limiter decides on notifications of one request.
type limiter struct {
	*State
	receiver *v1alpha1.TeamTalkReceiver
	now      time.Time
	// named are the recipients that alerts may name. They have separate digests. All others are always addressed together,
	// and share one.
	named map[recipient]bool
	// lines is the length of all lines, in bytes.
	lines int
}

func newLimiter(s *State, r *v1alpha1.TeamTalkReceiver, now time.Time) *limiter {
	l := &limiter{State: s, receiver: r, now: now, named: map[recipient]bool{}, lines: s.linesLength()}
	if r.Spec.Allow != nil {
		for _, one := range r.Spec.Allow.All() {
			l.named[recipient(one)] = true
		}
	}
	w := WindowAt(r.Spec.FloodControl, now)
	next := Window{Begin: w.Begin + w.Seconds, Seconds: w.Seconds}
	// If the clock of another replica is ahead, its window has begun.
	if s.Window != w && s.Window != next {
		s.Window, s.Sent = w, nil
	}
	if s.Sent == nil {
		s.Sent = map[recipient]int32{}
	}
	if s.Entries == nil {
		s.Entries = map[string]Entry{}
	}
	return l
}

// decide decides on notifications. It reports whether any of them is fresh.
func (l *limiter) decide(ctx context.Context, list []Notification) (decisions []Decision, fresh bool) {
	decisions = make([]Decision, len(list))
	seen := make(map[string]bool, len(list))
	for i, n := range list {
		if seen[n.Hash] {
			continue // the same alerts twice
		}
		seen[n.Hash] = true
		isFresh := l.isFresh(n)
		if isFresh {
			l.enter(ctx, n)
		}
		if e, known := l.Entries[n.Hash]; known {
			decisions[i] = Decision{
				Fresh: isFresh, Suppressed: e.suppressed(), To: e.recipients(n.To), Number: e.Number, Time: time.Unix(e.Time, 0),
			}
		}
		fresh = fresh || isFresh
	}
	return decisions, fresh
}

// isFresh reports whether nothing was decided on a notification within the dedup window.
func (l *limiter) isFresh(n Notification) bool {
	if e, known := l.Entries[n.Hash]; known {
		return l.now.Sub(time.Unix(e.Time, 0)) >= l.receiver.DedupWindow()
	}
	return !n.Recent // it was sent while there was no flood control
}

// enter enters a notification: recipients within the limit get a message, for the others it is suppressed.
func (l *limiter) enter(ctx context.Context, n Notification) {
	e := Entry{Time: l.now.Unix(), Number: max(n.Number, l.Entries[n.Hash].Number) + 1}
	for _, to := range n.To {
		r := recipient(to)
		if l.Sent[r] < l.receiver.Spec.FloodControl.Messages {
			l.Sent[r]++
		} else {
			e.Suppressed = append(e.Suppressed, r)
		}
	}
	l.suppress(ctx, n, e.Suppressed)
	if e.All = len(e.Suppressed) == len(n.To); e.All {
		e.Suppressed = nil
	}
	l.Entries[n.Hash] = e
}

// suppress adds a notification to the digests of recipients.
func (l *limiter) suppress(ctx context.Context, n Notification, list recipients) {
	line := ""
	for _, d := range l.digestsFor(list) {
		d.Count++
		if d.Full || l.lines > maxLines {
			continue
		}
		if line == "" {
			line = n.Line(ctx)
		}
		before := len(d.Lines)
		if d.add(line); len(d.Lines) > before {
			l.lines += len(line)
		}
	}
}

// digestsFor returns the digests of the window for recipients.
func (l *limiter) digestsFor(list recipients) (digests []*Digest) {
	var shared, named recipients
	for _, r := range list {
		if l.named[r] {
			named = append(named, r)
		} else {
			shared = append(shared, r)
		}
	}
	if len(shared) > 0 {
		digests = append(digests, l.digest(l.Window, shared))
	}
	if len(named) > manyNamed && l.mayShare(named) {
		return append(digests, l.digest(l.Window, named))
	}
	for _, r := range named {
		digests = append(digests, l.digest(l.Window, recipients{r}))
	}
	return digests
}

// mayShare reports whether recipients who were named together may have a digest in common: they have it already, or
// the window has few of them.
func (l *limiter) mayShare(to recipients) bool {
	others := 0
	for _, d := range l.Digests {
		switch {
		case d.Window != l.Window:
		case slices.Equal(d.To, to):
			return true
		case len(d.To) > manyNamed && l.named[d.To[0]]:
			others++
		}
	}
	return others < maxShared
}

// carry moves the unpublished notifications of a digest to that of the current window.
func (l *limiter) carry(rest *Digest) {
	d := l.digest(l.Window, rest.To)
	d.Count += rest.Count
	for _, line := range rest.Lines {
		d.add(line)
	}
}
