// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// resolveRefs finds the ids of the TeamTalkGroups in to.groupRefs. The message waits until each of them has one. As for
// names, the status shows the ids before anything is sent, and they are not looked up again.
func (r *Reconciler) resolveRefs(ctx context.Context, s *scope) (outcome, error) {
	refs := s.unresolvedRefs()
	switch {
	case len(refs) == 0:
		return proceed, nil
	case s.expired():
		s.expireNames()
		return recordFirst, nil
	}
	results := make([]delivery.NameResult, len(refs))
	var waits *v1alpha1.Cause
	for i, ref := range refs {
		result, why, err := r.findRef(ctx, s, ref)
		switch {
		case err != nil:
			return proceed, err
		case why == nil:
		case !s.isEscalation():
			return outcome{action: actionRecord, cause: why}, nil
		default:
			waits, result.Cause = why, *why
		}
		results[i] = result
	}
	switch changed := s.applyNames(refs, results); {
	case changed || waits == nil:
		return recordFirst, nil
	case s.underWay(), s.sendable() > 0:
		return proceed, nil // other recipients need not wait for the group
	}
	return outcome{action: actionRecord, cause: waits}, nil
}

// findRef returns the id of a TeamTalkGroup's group in TeamTalk, or the cause for which to wait.
func (r *Reconciler) findRef(
	ctx context.Context, s *scope, ref v1alpha1.Recipient,
) (result delivery.NameResult, waits *v1alpha1.Cause, err error) {
	group, key := &v1alpha1.TeamTalkGroup{}, types.NamespacedName{Namespace: s.message.Namespace, Name: ref.Ref}
	switch err := r.Client.Get(ctx, key, group); {
	case apierrors.IsNotFound(err):
		return result, &v1alpha1.Cause{
			Reason:  v1alpha1.ReasonGroupNotReady,
			Message: fmt.Sprintf("TeamTalkGroup %q does not exist in namespace %q: create it", key.Name, key.Namespace),
		}, nil
	case err != nil:
		return result, nil, fmt.Errorf("read TeamTalkGroup %s: %w", key, err)
	}
	if group.ServerKey() != s.message.ServerKey() {
		return delivery.NameResult{Final: true, Cause: v1alpha1.Cause{
			Reason: v1alpha1.ReasonGroupNotFound,
			Message: fmt.Sprintf("TeamTalkGroup %q belongs to TeamTalkServer %q: "+
				"send through that server, or name another group",
				key.Name, group.ServerKey()),
		}}, nil, nil
	}
	id, notReady := readyGroup(group)
	if notReady != "" {
		return result, &v1alpha1.Cause{Reason: v1alpha1.ReasonGroupNotReady, Message: notReady}, nil
	}
	return delivery.NameResult{ID: id}, nil, nil
}

// readyGroup returns the id of a TeamTalkGroup's group in TeamTalk, or why it is not Ready for its current spec.
func readyGroup(g *v1alpha1.TeamTalkGroup) (id uint32, notReady string) {
	ready := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil || ready.ObservedGeneration != g.Generation:
		return 0, fmt.Sprintf("TeamTalkGroup %q is not Ready yet", g.Name)
	case ready.Status != "True" || g.Status.GroupID == nil:
		return 0, fmt.Sprintf("TeamTalkGroup %q is not Ready, with the reason %s: see its conditions", g.Name, ready.Reason)
	}
	return uint32(*g.Status.GroupID), ""
}

// unresolvedRefs returns the TeamTalkGroups whose id is not known.
func (s *scope) unresolvedRefs() (refs []v1alpha1.Recipient) {
	for _, p := range s.recipients {
		if p.Ref != "" && !p.Done() {
			refs = append(refs, p.Recipient)
		}
	}
	return refs
}

// refIndex finds the unfinished messages that have to look up a TeamTalkGroup of their namespace.
const refIndex = "spec.to.groupRefs"

func indexByRef(o client.Object) (names []string) {
	m, ok := o.(*v1alpha1.TeamTalkMessage)
	if !ok || m.Finished() || len(m.Spec.To.GroupRefs) == 0 {
		return nil
	}
	known := map[string]bool{}
	for _, r := range m.Status.Recipients {
		known[r.Ref] = known[r.Ref] || r.ID != 0
	}
	for _, ref := range m.Spec.To.GroupRefs {
		if !known[ref.Name] {
			names = append(names, ref.Name)
		}
	}
	return names
}

// groupMatters selects events of a TeamTalkGroup that may unblock its messages, or change the cause for which they
// wait.
var groupMatters = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*v1alpha1.TeamTalkGroup)
		after, ok2 := e.ObjectNew.(*v1alpha1.TeamTalkGroup)
		if !ok1 || !ok2 || before.UID != after.UID {
			return true
		}
		id, why := readyGroup(before)
		newID, newWhy := readyGroup(after)
		return id != newID || why != newWhy
	},
}

// messagesOfGroup requeues the messages that wait for a TeamTalkGroup.
func (r *Reconciler) messagesOfGroup(ctx context.Context, group client.Object) []reconcile.Request {
	return append(
		r.requests(ctx, client.InNamespace(group.GetNamespace()), client.MatchingFields{refIndex: group.GetName()}),
		escalationRequests(r.escalations(isIn(group.GetNamespace())))...)
}
