// SPDX-License-Identifier: Apache-2.0

package teamtalkschedule

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/schedule"
)

// check returns the times of a schedule, or the cause that the user must fix.
func check(o *v1alpha1.TeamTalkSchedule) (*schedule.Schedule, error) {
	times, err := schedule.Parse(o.Spec.Schedule, o.Spec.TimeZone)
	if err != nil {
		return nil, err
	}
	path := field.NewPath("messageTemplate", "metadata")
	metadata := o.Spec.MessageTemplate.Metadata
	bad := metav1validation.ValidateLabels(metadata.Labels, path.Child("labels"))
	bad = append(bad, validation.ValidateAnnotations(metadata.Annotations, path.Child("annotations"))...)
	if len(bad) > 0 {
		return nil, errors.New(bad[0].Error())
	}
	return times, nil
}

// setHandled sets the time from which scheduled times count, if the status does not have it. For a new schedule it is
// its creation, and after a change of the times it is now. A time in the future is wrong: the clock was set back. Times
// that were done by the wrong clock have their messages, and get no others.
func setHandled(o *v1alpha1.TeamTalkSchedule, now time.Time) {
	described := fmt.Sprintf("%s %s", o.Spec.Schedule, o.Spec.TimeZone)
	s := &o.Status
	switch {
	case s.HandledUntil == nil || s.HandledSchedule == "":
		s.HandledUntil = o.CreationTimestamp.DeepCopy()
	case s.HandledSchedule != described, s.HandledUntil.After(now):
		s.HandledUntil = new(metav1.NewTime(now))
	}
	s.HandledSchedule = described
}

// wasSuspended reports whether the schedule was suspended until now. No messages were due for the times in the
// suspension: the message of the latest one is created, and the others are handled, not missed.
func wasSuspended(o *v1alpha1.TeamTalkSchedule) bool {
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Reason == v1alpha1.ReasonSuspended
}

// setReady records that messages are created, or that the schedule is suspended.
func setReady(o *v1alpha1.TeamTalkSchedule) {
	reason, message := v1alpha1.ReasonReady, "a message is created at each scheduled time"
	if o.Suspended() {
		reason, message = v1alpha1.ReasonSuspended, "spec.suspend is true: no messages are created"
	}
	setConditions(o, metav1.ConditionTrue, reason, message, "")
}

// setStalled records the cause that the user must fix.
func setStalled(o *v1alpha1.TeamTalkSchedule, err error) {
	setConditions(o, metav1.ConditionFalse, v1alpha1.ReasonInvalidSchedule, err.Error(), v1alpha1.ConditionStalled)
}

// setNotCreated records why the message of a time cannot be created.
func setNotCreated(o *v1alpha1.TeamTalkSchedule, at time.Time, err error) {
	setConditions(o, metav1.ConditionFalse, v1alpha1.ReasonMessageNotCreated,
		fmt.Sprintf("the message of %s is not created, the operator retries: %s", format(at), explain(err)),
		v1alpha1.ConditionReconciling)
}

// setConditions sets Ready, and Reconciling or Stalled. If the type is empty, neither is set.
func setConditions(o *v1alpha1.TeamTalkSchedule, ready metav1.ConditionStatus, reason, message, present string) {
	o.Status.ObservedGeneration = o.Generation
	set := func(name string, status metav1.ConditionStatus) {
		meta.SetStatusCondition(&o.Status.Conditions, metav1.Condition{
			Type: name, Status: status, Reason: reason, Message: message, ObservedGeneration: o.Generation,
		})
	}
	set(v1alpha1.ConditionReady, ready)
	for _, name := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if name == present {
			set(name, metav1.ConditionTrue)
		} else {
			meta.RemoveStatusCondition(&o.Status.Conditions, name)
		}
	}
}

// missed tells which times were missed, and why.
func missed(o *v1alpha1.TeamTalkSchedule, p schedule.Plan) string {
	which := format(p.FirstMissed)
	if !p.FirstMissed.Equal(p.LastMissed) {
		which = fmt.Sprintf("each time from %s to %s", format(p.FirstMissed), format(p.LastMissed))
	}
	if p.Due.IsZero() {
		return fmt.Sprintf("no message was created for %s, more than startingDeadlineSeconds (%d) ago",
			which, *o.Spec.StartingDeadlineSeconds)
	}
	return fmt.Sprintf("no message was created for %s: only the message of the latest missed time, %s, is created",
		which, format(p.Due))
}

func format(t time.Time) string { return t.UTC().Format(time.RFC3339) }
