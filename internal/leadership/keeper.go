// Package leadership knows what an operator that was leader before may still be
// sending. Leader election alone does not tell: a lease can be lost while sends
// are under way.
package leadership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/rule"
)

// DrainedAnnotation on the Lease says that its last holder had nothing in flight
// and everything recorded when it let go. The next leader takes it off before it
// sends anything.
const DrainedAnnotation = "teamtalk.io/drained"

// listChunk is how many messages are held at once when all are looked through.
const listChunk = 500

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

// Keeper finds out about the term when it begins, and marks its clean end.
type Keeper struct {
	client client.Client
	reader client.Reader
	lease  types.NamespacedName
	begun  chan struct{}
	term   Term
}

// NewKeeper returns a Keeper of the Lease. reader must read past any cache.
func NewKeeper(c client.Client, reader client.Reader, lease types.NamespacedName) *Keeper {
	return &Keeper{client: c, reader: reader, lease: lease, begun: make(chan struct{})}
}

// Start begins the term, trying until it succeeds. It is a manager's Runnable
// that needs leader election.
func (k *Keeper) Start(ctx context.Context) error {
	log := logf.FromContext(ctx).WithName("leadership")
	return wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
		term, err := k.begin(ctx)
		if err != nil {
			log.Error(err, "cannot begin the term yet; nothing is sent until it has begun")
			return false, nil
		}
		k.term = term
		close(k.begun)
		log.Info("term begun", "clean", term.Clean)
		return true, nil
	})
}

// Term returns the term, waiting until it has begun.
func (k *Keeper) Term(ctx context.Context) (Term, error) {
	select {
	case <-k.begun:
		return k.term, nil
	case <-ctx.Done():
		return Term{}, fmt.Errorf("wait for the leader's term: %w", ctx.Err())
	}
}

func (k *Keeper) begin(ctx context.Context) (Term, error) {
	lease := &coordinationv1.Lease{}
	if err := k.reader.Get(ctx, k.lease, lease); err != nil {
		return Term{}, fmt.Errorf("read Lease %s: %w", k.lease, err)
	}
	term := Term{Local: time.Now(), Start: lease.CreationTimestamp}
	// The API server stamps every write of the Lease: its clock, not ours, is the
	// one that objects' creation times are read against.
	for _, f := range lease.ManagedFields {
		if f.Time != nil && f.Time.After(term.Start.Time) {
			term.Start = *f.Time
		}
	}
	messages := &v1alpha1.TeamTalkMessageList{}
	if err := k.reader.List(ctx, messages, client.Limit(1)); err != nil {
		return Term{}, fmt.Errorf("list TeamTalkMessages: %w", err)
	}
	term.Version = messages.ResourceVersion
	_, drained := lease.Annotations[DrainedAnnotation]
	fresh, err := k.fresh(ctx, lease)
	if err != nil {
		return Term{}, err
	}
	term.Clean = drained || fresh || !rule.DrainedMark
	if drained {
		if err := k.annotate(ctx, lease, nil); err != nil {
			return Term{}, err
		}
	}
	return term, nil
}

// fresh reports whether no operator has worked here before: the Lease is new,
// and no server bears a status, which every operator writes before it sends. A
// Lease that was deleted by hand is told from a new one by that.
func (k *Keeper) fresh(ctx context.Context, lease *coordinationv1.Lease) (bool, error) {
	if n := lease.Spec.LeaseTransitions; n != nil && *n > 0 {
		return false, nil
	}
	if lease.Spec.AcquireTime == nil || lease.Spec.AcquireTime.Time.Sub(lease.CreationTimestamp.Time).Abs() > time.Minute {
		return false, nil
	}
	servers := &v1alpha1.TeamTalkServerList{}
	if err := k.reader.List(ctx, servers); err != nil {
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

// ErrInherited reports that an earlier leader's doubts are not all on record.
var ErrInherited = errors.New("messages from before this term have not been asked for yet")

// MarkDrained says on the Lease that nothing is in flight and everything is
// recorded. The process must not send anything after it. It returns ErrInherited
// where this term did not begin clean, and a message from before it may have been
// sent by an earlier leader without its status saying so.
func (k *Keeper) MarkDrained(ctx context.Context) error {
	select {
	case <-k.begun:
	default:
		// What the Lease said when the term would have begun still holds.
		return ErrInherited
	}
	if !k.term.Clean {
		inherited, err := k.inherited(ctx)
		if err != nil {
			return err
		}
		if inherited {
			return ErrInherited
		}
	}
	lease := &coordinationv1.Lease{}
	if err := k.reader.Get(ctx, k.lease, lease); err != nil {
		return fmt.Errorf("read Lease %s: %w", k.lease, err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	return k.annotate(ctx, lease, &now)
}

// inherited reports whether a message from before the term is neither finished
// nor known to be in doubt, stored or failed for each of its recipients.
func (k *Keeper) inherited(ctx context.Context) (bool, error) {
	list := &v1alpha1.TeamTalkMessageList{}
	for {
		if err := k.reader.List(ctx, list, client.Limit(listChunk), client.Continue(list.Continue)); err != nil {
			return false, fmt.Errorf("list TeamTalkMessages: %w", err)
		}
		for i := range list.Items {
			if m := &list.Items[i]; !m.CreationTimestamp.After(k.term.Start.Time) && !m.Finished() &&
				!m.NeverDueBefore(k.term.Start.Time) && mayHideASend(m) {
				return true, nil
			}
		}
		if list.Continue == "" {
			return false, nil
		}
	}
}

// mayHideASend reports whether a leader that trusts the status would send
// something that an earlier one may have sent.
func mayHideASend(m *v1alpha1.TeamTalkMessage) bool {
	if len(m.Status.Recipients) == 0 {
		return true
	}
	return slices.ContainsFunc(m.Status.Recipients, func(r v1alpha1.RecipientStatus) bool {
		return r.State == v1alpha1.StatePending
	})
}

// annotate sets or removes the mark. The elector may write the Lease at the same
// moment; a merge patch of the one annotation does not mind.
func (k *Keeper) annotate(ctx context.Context, lease *coordinationv1.Lease, value *string) error {
	before := lease.DeepCopy()
	delete(lease.Annotations, DrainedAnnotation)
	if value != nil {
		if lease.Annotations == nil {
			lease.Annotations = map[string]string{}
		}
		lease.Annotations[DrainedAnnotation] = *value
	}
	if err := k.client.Patch(ctx, lease, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("mark Lease %s: %w", k.lease, err)
	}
	return nil
}
