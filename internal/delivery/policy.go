// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Times of the promise that no resource declares.
const (
	// InDoubtLimit is how long a doubt is investigated before it ends as OutcomeUnknown.
	InDoubtLimit = time.Hour
	// RouteTimeout is how long a stored message waits for a router.
	RouteTimeout = 5 * time.Minute
	// OrderGrace is how long a recipient that waits holds back its successors in the conversation.
	OrderGrace = 30 * time.Second
	// RouteAdoptedWithin is the age up to which an adopted message is routed again: clients drop a repeat.
	RouteAdoptedWithin = 10 * time.Minute
	// PeerPatience is the time after which db_proxy closes the connection of a silent peer, such as a lost operator.
	PeerPatience = 30 * time.Second
)

// Policy holds the settings of a message and its server for sending.
type Policy struct {
	// Verify reads each message back from the store.
	Verify bool
	// Settle is how long db_proxy may still execute a request after its connection is gone.
	Settle time.Duration
	// ReplicaLag is how far reads may lag behind.
	ReplicaLag time.Duration
	// RetryLimit is how often a recipient is retried.
	RetryLimit int32
	// NotBefore is the time before which nothing is sent. Doubts are still searched for.
	NotBefore time.Time
	// Deadline is the time from which nothing is sent, or zero.
	Deadline time.Time
	// SupersededAt is since when a later revision waits for the end of this one, or zero. Nothing is sent from then on,
	// and nothing waits for a router. The Deadline ends its doubts.
	SupersededAt time.Time
}

// PolicyOf returns the settings of a server, with the retryLimit of a message.
func PolicyOf(server *v1alpha1.TeamTalkServer, retryLimit int32) Policy {
	return Policy{
		Verify:     server.Spec.Verification != v1alpha1.VerificationNever,
		Settle:     time.Duration(server.Spec.SettleSeconds) * time.Second,
		ReplicaLag: time.Duration(*server.Spec.MaxReplicaLagSeconds) * time.Second,
		RetryLimit: retryLimit,
	}
}

// deadlinePassed reports whether the deadline has come.
func (p Policy) deadlinePassed(now time.Time) bool {
	return !p.Deadline.IsZero() && !now.Before(p.Deadline)
}

// provableAt returns when an answer can prove absence at the earliest.
func (p recipientState) provableAt(pol Policy) time.Time {
	return p.lastAttempt.Add(pol.Settle + pol.ReplicaLag)
}

// backoff doubles from base up to limit.
type backoff struct{ base, limit time.Duration }

var (
	retryBackoff = backoff{time.Second, 5 * time.Minute}
	askBackoff   = backoff{100 * time.Millisecond, time.Minute}
	// earlierAskBackoff is the backoff for doubts about an earlier operator: hundreds are searched for at once, before new
	// messages.
	earlierAskBackoff = backoff{2 * time.Second, time.Minute}
	// routeBackoff is the backoff for a router that is connected but accepts no message.
	routeBackoff = backoff{100 * time.Millisecond, 5 * time.Second}
	// readyBackoff is for a connection that is up, but accepts no request.
	readyBackoff = backoff{50 * time.Millisecond, time.Second}
)

// delay returns the delay of the nth try, counted from 1, before jitter.
func (b backoff) delay(n int32) time.Duration {
	if n < 1 || n > 30 {
		return b.limit
	}
	return min(b.limit, b.base<<(n-1))
}

// backoff returns when the nth try begins. Half of the delay has jitter.
func (e environment) backoff(b backoff, n int32) time.Time {
	half := b.delay(n) / 2
	return e.now.Add(half + e.jitter(half))
}
