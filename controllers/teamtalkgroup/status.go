// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// record writes the outcome of a pass to the status.
func (r *Reconciler) record(ctx context.Context, s *scope, out outcome) (reconcile.Result, error) {
	result := reconcile.Result{RequeueAfter: out.after}
	switch out.action {
	case actionLeave:
		return result, nil
	case actionReady:
		s.memory.tries, s.memory.absent = 0, ""
		setConditions(s.group, metav1.ConditionTrue, v1alpha1.Cause{
			Reason: v1alpha1.ReasonReady, Message: fmt.Sprintf("group %d has the declared members", s.chat.ID),
		}, "")
	case actionRefuse:
		s.memory.tries = 0
		setConditions(s.group, metav1.ConditionFalse, out.cause, v1alpha1.ConditionStalled)
	default:
		setConditions(s.group, metav1.ConditionFalse, out.cause, v1alpha1.ConditionReconciling)
	}
	if err := r.write(ctx, s); err != nil {
		return reconcile.Result{}, err
	}
	if out.action != actionWait {
		s.memory.changing = 0
		r.Engine.Groups.End(s.group.UID)
	}
	return result, nil
}

// write writes the status if it has changed, with the resourceVersion that the phases have read.
func (r *Reconciler) write(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.written.Status, s.group.Status) {
		return nil
	}
	before := s.written
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, s.group, patch); err != nil {
		return fmt.Errorf("write the status of TeamTalkGroup %s/%s: %w", s.group.Namespace, s.group.Name, err)
	}
	s.written = s.group.DeepCopy()
	r.versions.Store(s.group.UID, s.group.ResourceVersion)
	if kind, changed := v1alpha1.ReadyEvent(before.Status.Conditions, s.group.Status.Conditions); kind != "" {
		if changed.Reason == v1alpha1.ReasonChanging {
			kind = "Normal"
		}
		r.Recorder.Eventf(s.group, nil, kind, changed.Reason, "Manage", "%s", changed.Message)
	}
	return nil
}

// setChanging shows that the group is being created or changed.
func setChanging(g *v1alpha1.TeamTalkGroup, message string) {
	setConditions(g, metav1.ConditionFalse, v1alpha1.Cause{Reason: v1alpha1.ReasonChanging, Message: message},
		v1alpha1.ConditionReconciling)
}

// isChanging reports whether the status shows a change that has not ended.
func isChanging(g *v1alpha1.TeamTalkGroup) bool {
	c := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionReady)
	return c != nil && c.Reason == v1alpha1.ReasonChanging
}

// setConditions sets Ready, and Reconciling or Stalled. If the type is empty, neither is set.
func setConditions(g *v1alpha1.TeamTalkGroup, ready metav1.ConditionStatus, cause v1alpha1.Cause, present string) {
	g.Status.ObservedGeneration = g.Generation
	set := func(name string, status metav1.ConditionStatus) {
		meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{
			Type: name, Status: status, Reason: cause.Reason, Message: cause.Message, ObservedGeneration: g.Generation,
		})
	}
	set(v1alpha1.ConditionReady, ready)
	for _, name := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if name == present {
			set(name, metav1.ConditionTrue)
		} else {
			meta.RemoveStatusCondition(&g.Status.Conditions, name)
		}
	}
}
