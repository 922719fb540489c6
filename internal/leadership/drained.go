package leadership

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// DrainedAnnotation on the Lease says that its last holder had nothing in flight
// and everything recorded when it let go. Its value is the resourceVersion of the
// TeamTalkMessages by which that was so. The next leader takes it off before it
// sends anything.
const DrainedAnnotation = "teamtalk.io/drained"

// listChunk is how many messages are held at once when all are looked through.
const listChunk = 500

// ErrPriorTerm reports that an earlier leader's doubts are not all on record.
var ErrPriorTerm = errors.New("what was sent before this term is not all known yet")

// MarkDrained says on the Lease that nothing is in flight and everything is
// recorded. The process must not send anything after it. It returns ErrPriorTerm
// where this term did not begin clean, and a message from before it may have been
// sent by an earlier leader without its status saying so, or may still be.
func (t *TermTracker) MarkDrained(ctx context.Context) error {
	select {
	case <-t.begun:
	default:
		// What the Lease said when the term would have begun still holds.
		return ErrPriorTerm
	}
	if !t.term.Clean {
		// A doubt on record says nothing of how long the earlier leader's requests may
		// yet be executed: who begins clean counts from his own term.
		doubt, err := t.doubt(ctx)
		if err != nil {
			return err
		}
		if time.Since(t.term.Local) < doubt {
			return ErrPriorTerm
		}
		inherited, err := t.inherited(ctx)
		if err != nil {
			return err
		}
		if inherited {
			return ErrPriorTerm
		}
	}
	recorded, err := t.version(ctx)
	if err != nil {
		return err
	}
	// The elector renews the Lease meanwhile; each time, it is read again.
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		lease, err := t.held(ctx)
		if err != nil {
			return err
		}
		return t.annotate(ctx, lease, &recorded)
	})
}

// version returns the resourceVersion that the TeamTalkMessages have now.
func (t *TermTracker) version(ctx context.Context) (string, error) {
	messages := &v1alpha1.TeamTalkMessageList{}
	if err := t.reader.List(ctx, messages, client.Limit(1)); err != nil {
		return "", fmt.Errorf("list TeamTalkMessages: %w", err)
	}
	return messages.ResourceVersion, nil
}

// doubt is how long after the term's beginning it can be proved, at every server,
// that an earlier leader has not sent something.
func (t *TermTracker) doubt(ctx context.Context) (time.Duration, error) {
	servers := &v1alpha1.TeamTalkServerList{}
	if err := t.reader.List(ctx, servers); err != nil {
		return 0, fmt.Errorf("list TeamTalkServers: %w", err)
	}
	var longest int32
	for _, s := range servers.Items {
		longest = max(longest, s.Spec.SettleSeconds+ptr.Deref(s.Spec.MaxReplicaLagSeconds, 0))
	}
	return t.sendTimeout + time.Duration(longest)*time.Second, nil
}

// inherited reports whether a message from before the term is neither finished
// nor known to be in doubt, stored or failed for each of its recipients.
func (t *TermTracker) inherited(ctx context.Context) (bool, error) {
	list := &v1alpha1.TeamTalkMessageList{}
	for {
		if err := t.reader.List(ctx, list, client.Limit(listChunk), client.Continue(list.Continue)); err != nil {
			return false, fmt.Errorf("list TeamTalkMessages: %w", err)
		}
		for i := range list.Items {
			if m := &list.Items[i]; !m.CreationTimestamp.After(t.term.Start.Time) && !m.Finished() &&
				!m.NeverDueBefore(t.term.Start.Time) && mayHideASend(m) {
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

// held returns the Lease as it is now, or ErrNotHeld where another holds it. The
// lock takes the Lease once in a process's life: what names this process as the
// holder is of its one term.
func (t *TermTracker) held(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	if err := t.reader.Get(ctx, t.lease, lease); err != nil {
		return nil, fmt.Errorf("read Lease %s: %w", t.lease, err)
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != t.identity {
		return nil, fmt.Errorf("%w: Lease %s names %q as its holder", ErrNotHeld, t.lease, holder)
	}
	return lease, nil
}

// annotate sets or removes the mark on the Lease as it was read, and on no other
// version of it: the next one may be another holder's, which has sent since.
func (t *TermTracker) annotate(ctx context.Context, lease *coordinationv1.Lease, value *string) error {
	before := lease.DeepCopy()
	delete(lease.Annotations, DrainedAnnotation)
	if value != nil {
		if lease.Annotations == nil {
			lease.Annotations = map[string]string{}
		}
		lease.Annotations[DrainedAnnotation] = *value
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := t.client.Patch(ctx, lease, patch); err != nil {
		return fmt.Errorf("mark Lease %s: %w", t.lease, err)
	}
	return nil
}
