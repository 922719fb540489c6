// SPDX-License-Identifier: Apache-2.0

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
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Term is the time in which one process leads.
type Term struct {
	// Clean: no earlier leader has left anything in flight, and all is recorded but for Unrecorded.
	Clean bool
	// Unrecorded are the messages of which an earlier leader could not record everything, of a term that is Clean.
	Unrecorded Unrecorded
	// Start is when the term began, by the API server's clock. No other leader has seen later objects.
	Start metav1.Time
	// Local is Start by the clock of this process.
	Local time.Time
	// Version is a resourceVersion of the TeamTalkMessages that includes all writes of earlier leaders.
	Version string
}

// MayBeSent reports whether an earlier leader may have sent the message without recording it.
func (t Term) MayBeSent(m *v1alpha1.TeamTalkMessage) bool {
	return !m.CreationTimestamp.After(t.Start.Time) && (!t.Clean || t.Unrecorded.Has(m))
}

// TermTracker determines the Term of this process when it begins, and marks its clean end.
type TermTracker struct {
	client client.Client
	reader client.Reader
	lease  types.NamespacedName
	// identity is this process as the holder of the Lease.
	identity string
	// sendTimeout is how long an earlier leader may still be sending.
	sendTimeout time.Duration
	begun       chan struct{}
	term        Term
	// claims may be nil. Set by NewClaims.
	claims *Claims
}

// NewTermTracker returns a TermTracker of the Lease for the process with the identity. sendTimeout is
// how long an earlier leader may still be sending. reader must not be a cache.
func NewTermTracker(c client.Client, reader client.Reader, lease types.NamespacedName, identity string,
	sendTimeout time.Duration,
) *TermTracker {
	return &TermTracker{
		client: c, reader: reader, lease: lease, identity: identity, sendTimeout: sendTimeout, begun: make(chan struct{}),
	}
}

// Start implements manager.Runnable, with leader election. It retries until the term has begun.
func (t *TermTracker) Start(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("leadership")
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		term, err := t.begin(ctx)
		if err != nil {
			log.Error(err, "cannot begin the term; nothing is sent until it has begun")
			return false, nil
		}
		t.term = term
		close(t.begun)
		log.Info("term begun", "clean", term.Clean, "unrecorded", len(term.Unrecorded.UIDs),
			"unrecordedNamespaces", len(term.Unrecorded.Namespaces))
		return true, nil
	})
}

// Term waits until the term has begun and returns it.
func (t *TermTracker) Term(ctx context.Context) (Term, error) {
	select {
	case <-t.begun:
		return t.term, nil
	case <-ctx.Done():
		return Term{}, fmt.Errorf("wait for the leader's term: %w", ctx.Err())
	}
}

// begin determines the term from one version of the Lease that this process holds, and removes the
// annotation from that version.
func (t *TermTracker) begin(ctx context.Context) (term Term, err error) {
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		term, err = t.tryBegin(ctx)
		return err
	})
	return term, err
}

func (t *TermTracker) tryBegin(ctx context.Context) (Term, error) {
	lease, err := t.heldLease(ctx)
	if err != nil {
		return Term{}, err
	}
	term := Term{Local: time.Now(), Start: lastWrite(lease)}
	mark, drained := readDrainedMark(lease)
	if _, err := resourceversion.CompareResourceVersion(mark.Version, mark.Version); drained && err == nil {
		// The cache has usually reached this version. To know of the current one could take it a minute.
		term.Version = mark.Version
	} else if term.Version, err = t.version(ctx); err != nil {
		return Term{}, err
	}
	fresh, err := t.fresh(ctx, lease)
	if err != nil {
		return Term{}, err
	}
	term.Clean = drained || fresh
	if drained {
		term.Unrecorded = mark.unrecorded()
	}
	if _, invalid := lease.Annotations[DrainedExceptAnnotation]; drained || invalid {
		if err := t.annotate(ctx, lease, nil); err != nil {
			return Term{}, err
		}
	}
	return term, nil
}

// fresh reports whether no operator has led before: the Lease is new, and no server has an older status. Each
// operator writes that status before it sends. The status distinguishes a new Lease from one that a user has deleted.
func (t *TermTracker) fresh(ctx context.Context, lease *coordinationv1.Lease) (bool, error) {
	if n := lease.Spec.LeaseTransitions; n != nil && *n > 0 {
		return false, nil
	}
	acquired := lease.Spec.AcquireTime
	if acquired == nil || acquired.Time.Sub(lease.CreationTimestamp.Time).Abs() > time.Minute {
		return false, nil
	}
	servers := &v1alpha1.TeamTalkServerList{}
	if err := t.reader.List(ctx, servers); err != nil {
		return false, fmt.Errorf("list TeamTalkServers: %w", err)
	}
	for _, s := range servers.Items {
		// A newer status was written by this operator.
		conditions, by := s.Status.Conditions, s.Status.ManagedBy
		isOlder := len(conditions) > 0 && conditions[0].LastTransitionTime.Before(&lease.CreationTimestamp)
		if isOlder || by != nil && by.LeaseNamespace == t.lease.Namespace && by.LeaseName == t.lease.Name {
			return false, nil
		}
	}
	return true, nil
}
