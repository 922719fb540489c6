package teamtalkreceiver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// setReady writes what this controller says in a status; the rest is written by
// whoever serves the receiver.
func setReady(o *v1alpha1.TeamTalkReceiver, first *v1alpha1.Cause) {
	o.Status.ObservedGeneration = o.Generation
	ready := metav1.Condition{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonReady,
		// Not that it is served: whose gateway does that, and what that may read, is not
		// known here.
		Message:            "its server, its Secret and its templates are in order; a gateway serves it that may read it in this namespace",
		ObservedGeneration: o.Generation,
	}
	if first != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, first.Reason, first.Message
	}
	meta.SetStatusCondition(&o.Status.Conditions, ready)
}

// report writes an event where the receiver becomes ready, or stops being so for
// another reason than before.
func (r *Reconciler) report(before, after *v1alpha1.TeamTalkReceiver) {
	was := meta.FindStatusCondition(before.Status.Conditions, v1alpha1.ConditionReady)
	is := meta.FindStatusCondition(after.Status.Conditions, v1alpha1.ConditionReady)
	if was != nil && was.Status == is.Status && was.Reason == is.Reason {
		return
	}
	kind := corev1.EventTypeWarning
	if is.Status == metav1.ConditionTrue {
		kind = corev1.EventTypeNormal
	}
	r.Recorder.Eventf(after, nil, kind, is.Reason, "Check", "%s", is.Message)
}
