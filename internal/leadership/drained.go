// SPDX-License-Identifier: Apache-2.0

package leadership

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// The mark of a drained Lease. The next leader removes it before it sends anything.
const (
	// DrainedAnnotation means that the last holder had nothing in flight and everything recorded when it released the
	// Lease. Its value is the resourceVersion of the TeamTalkMessages at that time.
	DrainedAnnotation = "teamtalk.io/drained"
	// DrainedExceptAnnotation is set instead where not everything is recorded of some messages, and names these. Versions
	// that do not know it search the store for all messages.
	DrainedExceptAnnotation = "teamtalk.io/drained-except"
)

// listChunk is the page size of lists.
const listChunk = 500

// ErrPriorTerm reports that a message of an earlier leader may not be recorded.
var ErrPriorTerm = errors.New("not everything that an earlier leader may have sent is recorded")

// MarkDrained marks the Lease as drained, except for two kinds of messages. This process could not record the first
// kind, given as namespaces by UID. An earlier leader may have sent the second kind, and their status does not show
// it. The process must not send anything afterwards. It returns ErrPriorTerm while an earlier leader may still be
// sending.
func (t *TermTracker) MarkDrained(ctx context.Context, unrecorded map[types.UID]string) error {
	select {
	case <-t.begun:
	default:
		// The annotation was not removed.
		return ErrPriorTerm
	}
	messages := map[types.UID]string{}
	maps.Copy(messages, unrecorded)
	if doubts := t.doubts(); len(doubts) > 0 {
		if t.isEarly(doubts) {
			return ErrPriorTerm
		}
		if err := t.addUnrecorded(ctx, doubts, messages); err != nil {
			return err
		}
	}
	listed, err := limitUnrecorded(messages)
	if err != nil {
		return err
	}
	version, err := t.version(ctx)
	if err != nil {
		return err
	}
	// The elector renews the Lease concurrently.
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		lease, err := t.heldLease(ctx)
		if err != nil {
			return err
		}
		mark, err := newDrainedMark(lease, version, listed)
		if err != nil {
			return err
		}
		return t.annotate(ctx, lease, mark)
	})
}

// doubt is a term that did not begin clean or has unrecorded messages, and the server that it is about. If the server
// is empty, it is about all servers.
type doubt struct {
	Term
	server types.NamespacedName
}

// includes reports whether an earlier leader may have sent a message.
func (d doubt) includes(m *v1alpha1.TeamTalkMessage) bool {
	return d.MayBeSent(m) && (d.server.Name == "" || d.server == m.ServerKey())
}

// isEarly reports whether an earlier leader may still be sending, even if its messages are recorded as in doubt. The
// time in which its requests may be executed, and read late, does not count. The next leader counts it from the
// beginning of its own term, with the settings of each server. So no server delays the mark.
func (t *TermTracker) isEarly(doubts []doubt) bool {
	return slices.ContainsFunc(doubts, func(d doubt) bool { return !d.Clean && time.Since(d.Local) < t.sendTimeout })
}

// doubts returns the term of this process and the takeovers of servers, if an earlier leader may have sent messages
// in them that it has not recorded.
func (t *TermTracker) doubts() (doubts []doubt) {
	if !t.term.Clean || !t.term.Unrecorded.isEmpty() {
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

// addUnrecorded adds the messages that an earlier leader may have sent and whose status does not show it.
func (t *TermTracker) addUnrecorded(ctx context.Context, doubts []doubt, messages map[types.UID]string) error {
	list := &v1alpha1.TeamTalkMessageList{}
	for {
		// They are unfinished, or have finished and may be escalated.
		if err := t.reader.List(ctx, list, client.MatchingFields{v1alpha1.FieldSettled: "false"},
			client.Limit(listChunk), client.Continue(list.Continue)); err != nil {
			return fmt.Errorf("list TeamTalkMessages: %w", err)
		}
		for i := range list.Items {
			addIfUnrecorded(&list.Items[i], doubts, messages)
		}
		if list.Continue == "" {
			return nil
		}
	}
}

// addIfUnrecorded adds a message, and its escalation, if an earlier leader may have sent them unrecorded.
func addIfUnrecorded(m *v1alpha1.TeamTalkMessage, doubts []doubt, messages map[types.UID]string) {
	mayBeSent := func(m *v1alpha1.TeamTalkMessage) bool {
		return mayHideASend(m) && slices.ContainsFunc(doubts, func(d doubt) bool { return d.includes(m) })
	}
	if !m.Finished() && mayBeSent(m) {
		messages[m.UID] = m.Namespace
	}
	if m.Escalating() {
		e := m.Escalation()
		e.CreationTimestamp.Reset() // of the clock of some operator
		if mayBeSent(e) {
			messages[e.UID] = e.Namespace
		}
	}
}

// mayHideASend reports whether the status may hide a send of an earlier leader: to a pending recipient, or of the
// segment after a stored one.
func mayHideASend(m *v1alpha1.TeamTalkMessage) bool {
	mayBeSent := func(r v1alpha1.RecipientStatus) bool {
		return r.State == v1alpha1.StatePending || m.Spec.LongText == v1alpha1.LongTextSplit && r.Begun()
	}
	return !m.Status.WaitsUnsent() &&
		(len(m.Status.Recipients) == 0 || slices.ContainsFunc(m.Status.Recipients, mayBeSent))
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

// annotate sets or removes the mark on this version of the Lease only: the next may be another holder's.
func (t *TermTracker) annotate(ctx context.Context, lease *coordinationv1.Lease, mark map[string]string) error {
	before := lease.DeepCopy()
	for _, name := range []string{DrainedAnnotation, DrainedExceptAnnotation} {
		delete(lease.Annotations, name)
		if value, ok := mark[name]; ok {
			metav1.SetMetaDataAnnotation(&lease.ObjectMeta, name, value)
		}
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := t.client.Patch(ctx, lease, patch); err != nil {
		return fmt.Errorf("annotate Lease %s: %w", t.lease, err)
	}
	return nil
}
