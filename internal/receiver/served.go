// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// servedInterval is how long Served stays True for a generation, at least. Gateways with different permissions would
// change it in turns.
const servedInterval = time.Minute

// serve schedules a write of the condition Served, unless the receiver has it. Unauthenticated requests may cause that
// write, too.
func (w *statusWriter) serve(r *v1alpha1.TeamTalkReceiver, now time.Time, problem *SecretProblem) {
	if served := servedCondition(r, now, problem); changesServed(r, served) {
		w.record(client.ObjectKeyFromObject(r), &v1alpha1.TeamTalkReceiverStatus{Conditions: []metav1.Condition{served}})
	}
}

// servedCondition returns the condition Served after a request to a receiver.
func servedCondition(r *v1alpha1.TeamTalkReceiver, now time.Time, problem *SecretProblem) metav1.Condition {
	c := metav1.Condition{
		Type: v1alpha1.ConditionServed, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonServed,
		ObservedGeneration: r.Generation, LastTransitionTime: metav1.NewTime(now),
		Message: "a gateway has answered a request to it",
	}
	if problem != nil {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound, problem.Error()
	}
	return c
}

// changesServed reports whether a receiver that was read must get a new condition Served.
func changesServed(r *v1alpha1.TeamTalkReceiver, served metav1.Condition) bool {
	was := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionServed)
	switch {
	case was == nil || was.Status == metav1.ConditionUnknown || was.ObservedGeneration < served.ObservedGeneration:
		return true
	case was.Status == served.Status:
		return was.Message != served.Message
	}
	return served.Status == metav1.ConditionTrue ||
		served.LastTransitionTime.Sub(was.LastTransitionTime.Time) >= servedInterval
}
