// Package leadership knows what an operator that was leader before may still be
// sending. Leader election alone does not tell: a lease can be lost while sends
// are under way.
package leadership

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Term is one leader's time in office.
type Term struct {
	// Clean: the leader before, if there was one, has left nothing in flight.
	Clean bool
	// Start is when the term began, by the API server's clock: objects created
	// later were never seen by another leader.
	Start metav1.Time
	// Local is the same moment by this process's clock.
	Local time.Time
	// Version is a resourceVersion of the TeamTalkMessages: a cache that has reached
	// it shows all that other leaders have written before this term.
	Version string
}

// TermTracker finds out about the term when it begins, and marks its clean end.
type TermTracker struct {
	client client.Client
	reader client.Reader
	lease  types.NamespacedName
	// identity is what the Lease names as its holder where that is this process.
	identity string
	// sendTimeout is how long an operator that was lost may still be sending.
	sendTimeout time.Duration
	begun       chan struct{}
	term        Term
}

// NewTermTracker returns a TermTracker of the Lease for the process whose lock on it has the
// identity given. sendTimeout is how long an operator that was lost may still be
// sending. reader must read past any cache.
func NewTermTracker(c client.Client, reader client.Reader, lease types.NamespacedName, identity string, sendTimeout time.Duration) *TermTracker {
	return &TermTracker{client: c, reader: reader, lease: lease, identity: identity, sendTimeout: sendTimeout, begun: make(chan struct{})}
}

// Start begins the term, trying until it succeeds. It is a manager's Runnable
// that needs leader election.
func (t *TermTracker) Start(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("leadership")
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		term, err := t.begin(ctx)
		if err != nil {
			log.Error(err, "cannot begin the term yet; nothing is sent until it has begun")
			return false, nil
		}
		t.term = term
		close(t.begun)
		log.Info("term begun", "clean", term.Clean)
		return true, nil
	})
}

// Term returns the term, waiting until it has begun.
func (t *TermTracker) Term(ctx context.Context) (Term, error) {
	select {
	case <-t.begun:
		return t.term, nil
	case <-ctx.Done():
		return Term{}, fmt.Errorf("wait for the leader's term: %w", ctx.Err())
	}
}

// begin finds out about the term. What it says rests on one version of the Lease,
// which bore this process's name and, if it bore the mark, until that was taken off.
func (t *TermTracker) begin(ctx context.Context) (term Term, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		term, err = t.tryBegin(ctx)
		return err
	})
	return term, err
}

func (t *TermTracker) tryBegin(ctx context.Context) (Term, error) {
	lease, err := t.held(ctx)
	if err != nil {
		return Term{}, err
	}
	term := Term{Local: time.Now(), Start: lease.CreationTimestamp}
	// The API server stamps every write of the Lease: its clock, not ours, is the
	// one that objects' creation times are read against.
	for _, f := range lease.ManagedFields {
		if f.Time != nil && f.Time.After(term.Start.Time) {
			term.Start = *f.Time
		}
	}
	mark, drained := lease.Annotations[DrainedAnnotation]
	if _, err := resourceversion.CompareResourceVersion(mark, mark); drained && err == nil {
		// The cache has come so far already, as a rule; it may take a minute until it is
		// known to be as new as now, for want of events.
		term.Version = mark
	} else if term.Version, err = t.version(ctx); err != nil {
		return Term{}, err
	}
	fresh, err := t.fresh(ctx, lease)
	if err != nil {
		return Term{}, err
	}
	term.Clean = drained || fresh
	if drained {
		if err := t.annotate(ctx, lease, nil); err != nil {
			return Term{}, err
		}
	}
	return term, nil
}

// fresh reports whether no operator has worked here before: the Lease is new,
// and no server bears a status, which every operator writes before it sends. A
// Lease that was deleted by hand is told from a new one by that.
func (t *TermTracker) fresh(ctx context.Context, lease *coordinationv1.Lease) (bool, error) {
	if n := lease.Spec.LeaseTransitions; n != nil && *n > 0 {
		return false, nil
	}
	if lease.Spec.AcquireTime == nil || lease.Spec.AcquireTime.Time.Sub(lease.CreationTimestamp.Time).Abs() > time.Minute {
		return false, nil
	}
	servers := &v1alpha1.TeamTalkServerList{}
	if err := t.reader.List(ctx, servers); err != nil {
		return false, fmt.Errorf("list TeamTalkServers: %w", err)
	}
	for _, s := range servers.Items {
		// The one that is being written now is this operator's own.
		if ready := s.Status.Conditions; len(ready) > 0 && ready[0].LastTransitionTime.Time.Before(lease.CreationTimestamp.Time) {
			return false, nil
		}
	}
	return true, nil
}
