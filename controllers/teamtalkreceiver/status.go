// SPDX-License-Identifier: Apache-2.0

package teamtalkreceiver

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver"
)

// setReady writes this controller's part of the status. The gateway writes the rest.
func setReady(o *v1alpha1.TeamTalkReceiver, cause *v1alpha1.Cause) {
	o.Status.ObservedGeneration = o.Generation
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		ObservedGeneration: o.Generation,
		Message: "its server, Secret, templates and expressions are valid; " +
			"Served says whether a gateway serves it",
	}
	if cause != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, cause.Reason, cause.Message
	}
	meta.SetStatusCondition(&o.Status.Conditions, ready)
	if cause == nil || !needsEdit(cause.Reason) {
		meta.RemoveStatusCondition(&o.Status.Conditions, v1alpha1.ConditionStalled)
		return
	}
	stalled := ready
	stalled.Type, stalled.Status = v1alpha1.ConditionStalled, metav1.ConditionTrue
	meta.SetStatusCondition(&o.Status.Conditions, stalled)
}

// needsEdit reports whether only an edit of the receiver fixes the problem. Tools that use kstatus then stop waiting
// for the receiver.
func needsEdit(reason string) bool {
	switch reason {
	case v1alpha1.ReasonTemplateInvalid, v1alpha1.ReasonExpressionInvalid, v1alpha1.ReasonSendToSelf:
		return true
	}
	return false
}

// setServed sets where the receiver is served, and Served until a gateway does.
func setServed(o *v1alpha1.TeamTalkReceiver) {
	o.Status.Path = receiver.Path(client.ObjectKeyFromObject(o))
	if meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionServed) != nil {
		return
	}
	meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionServed, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonNotServedYet,
		ObservedGeneration: o.Generation,
		Message: "no gateway has answered a request to it: post to status.path at a gateway that has permission in this " +
			"namespace; one that has none answers with 503",
	})
}
