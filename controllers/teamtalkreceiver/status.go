// SPDX-License-Identifier: Apache-2.0

package teamtalkreceiver

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// setReady writes this controller's part of the status. The gateway writes the rest.
func setReady(o *v1alpha1.TeamTalkReceiver, cause *v1alpha1.Cause) {
	o.Status.ObservedGeneration = o.Generation
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		ObservedGeneration: o.Generation,
		// Whether a gateway serves it is not known here.
		Message: "its server, Secret, templates and expressions are valid; a gateway with permission in this namespace serves it",
	}
	if cause != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, cause.Reason, cause.Message
	}
	meta.SetStatusCondition(&o.Status.Conditions, ready)
}
