// SPDX-License-Identifier: Apache-2.0

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
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// DrainedAnnotation on the Lease means that its last holder had nothing in flight and everything
// recorded when it released the Lease. Its value is the resourceVersion of the TeamTalkMessages at
// that time. The next leader removes it before it sends anything.
const DrainedAnnotation = "teamtalk.io/drained"

// listChunk is the page size of lists.
const listChunk = 500

// ErrPriorTerm reports that a message of an earlier leader may not be recorded.
var ErrPriorTerm = errors.New("not everything that an earlier leader may have sent is recorded")

// MarkDrained sets DrainedAnnotation on the Lease. The process must not send anything afterwards. It
// returns ErrPriorTerm if the term did not begin clean, and an earlier leader may have sent, or may
// still send, a message whose status does not show it.
func (t *TermTracker) MarkDrained(ctx context.Context) error {
	select {
	case <-t.begun:
	default:
		// The annotation was not removed.
		return ErrPriorTerm
	}
	if doubts := t.doubts(); len(doubts) > 0 {
		// Requests of the earlier leader may still be executed, even if its messages are recorded as in
		// doubt. A leader whose term is clean counts this time from the beginning of its own term.
		delay, err := t.proofDelay(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(doubts, func(d doubt) bool { return time.Since(d.Local) < delay }) {
			return ErrPriorTerm
		}
		if unrecorded, err := t.unrecorded(ctx, doubts); err != nil {
			return err
		} else if unrecorded {
			return ErrPriorTerm
		}
	}
	recorded, err := t.version(ctx)
	if err != nil {
		return err
	}
	// The elector renews the Lease concurrently.
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		lease, err := t.heldLease(ctx)
		if err != nil {
			return err
		}
		return t.annotate(ctx, lease, &recorded)
	})
}

// doubt is a term that did not begin clean, and the server that it is about; if that is empty, all servers.
type doubt struct {
	Term
	server types.NamespacedName
}

// includes reports whether an earlier leader may have sent a message.
func (d doubt) includes(m *v1alpha1.TeamTalkMessage) bool {
	return !m.CreationTimestamp.After(d.Start.Time) && (d.server.Name == "" || d.server == m.ServerKey())
}

// doubts returns the term of this process and the takeovers of servers that did not begin clean.
func (t *TermTracker) doubts() (doubts []doubt) {
	if !t.term.Clean {
		doubts = append(doubts, doubt{Term: t.term})
	}
	for server, term := range t.claims.allTakeovers() {
		doubts = append(doubts, doubt{Term: term, server: server})
	}
	return doubts
}

// version returns the current resourceVersion of the TeamTalkMessages.
func (t *TermTracker) version(ctx context.Context) (string, error) {
	messages := &v1alpha1.TeamTalkMessageList{}
	if err := t.reader.List(ctx, messages, client.Limit(1)); err != nil {
		return "", fmt.Errorf("list TeamTalkMessages: %w", err)
	}
	return messages.ResourceVersion, nil
}

// proofDelay returns how long after the beginning of the term every store proves the absence of earlier sends.
func (t *TermTracker) proofDelay(ctx context.Context) (time.Duration, error) {
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

// unrecorded reports whether an earlier leader may have sent a message whose status does not show it.
func (t *TermTracker) unrecorded(ctx context.Context, doubts []doubt) (bool, error) {
	list := &v1alpha1.TeamTalkMessageList{}
	for {
		if err := t.reader.List(ctx, list, client.MatchingFields{v1alpha1.FieldFinished: "false"},
			client.Limit(listChunk), client.Continue(list.Continue)); err != nil {
			return false, fmt.Errorf("list TeamTalkMessages: %w", err)
		}
		for i := range list.Items {
			m := &list.Items[i]
			mayBeSent := slices.ContainsFunc(doubts, func(d doubt) bool { return d.includes(m) })
			if mayBeSent && !m.Finished() && mayHideASend(m) {
				return true, nil
			}
		}
		if list.Continue == "" {
			return false, nil
		}
	}
}

// mayHideASend reports whether the status does not show what an earlier leader may have sent.
func mayHideASend(m *v1alpha1.TeamTalkMessage) bool {
	isPending := func(r v1alpha1.RecipientStatus) bool { return r.State == v1alpha1.StatePending }
	return !m.Status.WaitsUnsent() &&
		(len(m.Status.Recipients) == 0 || slices.ContainsFunc(m.Status.Recipients, isPending))
}

// heldLease returns the Lease, or ErrNotHeld. A process acquires it once, so it belongs to its only term.
func (t *TermTracker) heldLease(ctx context.Context) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	if err := t.reader.Get(ctx, t.lease, lease); err != nil {
		return nil, fmt.Errorf("read Lease %s: %w", t.lease, err)
	}
	if holder := ptr.Deref(lease.Spec.HolderIdentity, ""); holder != t.identity {
		return nil, fmt.Errorf("%w: Lease %s names %q as its holder", ErrNotHeld, t.lease, holder)
	}
	return lease, nil
}

// annotate sets or removes the annotation on this version of the Lease only: the next may be another holder's.
func (t *TermTracker) annotate(ctx context.Context, lease *coordinationv1.Lease, value *string) error {
	before := lease.DeepCopy()
	delete(lease.Annotations, DrainedAnnotation)
	if value != nil {
		metav1.SetMetaDataAnnotation(&lease.ObjectMeta, DrainedAnnotation, *value)
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := t.client.Patch(ctx, lease, patch); err != nil {
		return fmt.Errorf("annotate Lease %s: %w", t.lease, err)
	}
	return nil
}
