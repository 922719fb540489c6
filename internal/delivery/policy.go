package delivery

import (
	"math/rand/v2"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Times of the promise that no resource declares.
const (
	// InDoubtLimit is how long a doubt is investigated before it ends as OutcomeUnknown.
	InDoubtLimit = time.Hour
	// RouteTimeout is how long a stored message waits for a router.
	RouteTimeout = 5 * time.Minute
	// OrderGrace is how long a recipient that waits holds back its successors in
	// the conversation.
	OrderGrace = 30 * time.Second
	// RouteAdoptedWithin is how young an adopted message must be to be routed
	// once more: a repeat is one stored row, a missed push is silence.
	RouteAdoptedWithin = 10 * time.Minute
	// PeerPatience is how long db_proxy keeps the connection of a silent peer,
	// and so how long an operator that was lost may still be sending.
	PeerPatience = 30 * time.Second

	backoffBase = time.Second
	backoffCap  = 5 * time.Minute
	askBase     = 100 * time.Millisecond
	askCap      = time.Minute
	routeBase   = time.Second
	routeCap    = 30 * time.Second
)

// Policy is what a message and its server declare about sending.
type Policy struct {
	// Verify reads each message back from the store.
	Verify bool
	// Settle is how long db_proxy may still execute a request after its
	// connection is gone.
	Settle time.Duration
	// ReplicaLag is how far reads may lag behind.
	ReplicaLag time.Duration
	// RetryLimit is how often a recipient is tried again.
	RetryLimit int32
	// NotBefore: nothing is sent before it; what is in doubt is asked about.
	NotBefore time.Time
	// Deadline: nothing is sent from then on; zero: none.
	Deadline time.Time
}

// PolicyOf returns what a server declares, with the retryLimit of a message.
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

// proofAfter is how long after the last attempt an answer can prove absence.
func (p Policy) proofAfter() time.Duration {
	return p.Settle + p.ReplicaLag
}

func (p Policy) backoff(tries int32) time.Duration {
	return exponential(backoffBase, backoffCap, tries)
}

// exponential returns base·2^(n-1), at most limit, with half of it jittered so
// that what failed together does not return together.
func exponential(base, limit time.Duration, n int32) time.Duration {
	d := limit
	if n >= 1 && n < 32 {
		if s := base << (n - 1); s > 0 && s < limit {
			d = s
		}
	}
	return d/2 + rand.N(d/2+1)
}
