// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"fmt"
	"maps"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ScheduleLabel is the name of the TeamTalkSchedule that created a message.
const ScheduleLabel = "teamtalk.io/schedule"

// ScheduledAtAnnotation is the scheduled time of a message of a TeamTalkSchedule, in RFC 3339.
const ScheduledAtAnnotation = "teamtalk.io/scheduled-at"

// Reasons of a TeamTalkSchedule's conditions, in addition to Ready and Suspended.
const (
	// ReasonInvalidSchedule: the schedule, the time zone or the metadata of messageTemplate is not valid.
	ReasonInvalidSchedule = "InvalidSchedule"
	// ReasonMessageNotCreated: the API server refuses the message of a scheduled time. The operator retries until the
	// deadline, or until the next scheduled time.
	ReasonMessageNotCreated = "MessageNotCreated"
)

// Reasons of a TeamTalkSchedule's events, in addition to those of its conditions.
const (
	// ReasonMessageCreated: the message of a scheduled time was created.
	ReasonMessageCreated = "MessageCreated"
	// ReasonTimesMissed: scheduled times have passed, and their messages are not sent.
	ReasonTimesMissed = "TimesMissed"
)

// TeamTalkScheduleSpec describes a message and when to send it.
type TeamTalkScheduleSpec struct {
	// schedule is a cron expression with five fields (minute, hour, day of month, month, day of week), or one of @yearly,
	// @monthly, @weekly, @daily and @hourly. If both day fields are restricted, one of them must match.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:XValidation:rule="!self.contains('TZ=')",message="set timeZone instead of TZ= or CRON_TZ="
	// +kubebuilder:validation:XValidation:rule="self.contains('TZ=') || self.matches('^[ \\t]*(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[-0-9*/,?]+([ \\t]+[-0-9*/,?]+){2}[ \\t]+[-0-9A-Za-z*/,?]+[ \\t]+[-0-9A-Za-z*/,?]+)[ \\t]*$')",message="schedule must have five fields, such as '30 9 * * 1-5', or be one of @yearly, @monthly, @weekly, @daily and @hourly"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[ \\t]*([^ \\t]*[-,/])?0*([6-9][0-9]|[1-9][0-9]{2,})[-,/ \\t]')",message="minutes and their steps are at most 59"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[ \\t]*[^ \\t]+[ \\t]+([^ \\t]*[-,/])?0*(2[4-9]|[3-9][0-9]|[1-9][0-9]{2,})[-,/ \\t]')",message="hours and their steps are at most 23"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[ \\t]*([^ \\t]+[ \\t]+){2}([^ \\t]*[-,/])?(0+|0*(3[2-9]|[4-9][0-9]|[1-9][0-9]{2,}))[-,/ \\t]')",message="days of month are 1 to 31"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[ \\t]*([^ \\t]+[ \\t]+){3}([^ \\t]*[-,/])?(0+|0*(1[3-9]|[2-9][0-9]|[1-9][0-9]{2,}))[-,/ \\t]')",message="months are 1 to 12"
	// +kubebuilder:validation:XValidation:rule="!self.matches('^[ \\t]*([^ \\t]+[ \\t]+){4}([^ \\t]*[-,/])?0*([89]|[1-9][0-9]+)([-,/ \\t]|$)')",message="days of week are 0 (Sunday) to 7"
	// +kubebuilder:validation:XValidation:rule="!self.matches('/0+([-,/ \\t]|$)')",message="a step is at least 1"
	Schedule string `json:"schedule,omitempty"`

	// timeZone is the time zone of the schedule, as a name of the IANA database, such as Asia/Shanghai. If unset, it is
	// UTC.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self != 'Local'",message="timeZone must be a name of the IANA database, such as Asia/Shanghai"
	TimeZone string `json:"timeZone,omitempty"`

	// suspend stops the schedule from creating messages. Existing messages are not affected. After the suspension, the
	// message of the latest missed time is created if startingDeadlineSeconds permits it.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// startingDeadlineSeconds limits how late a message is created, for example after an outage or a suspension. Only the
	// message of the latest missed time is created. If unset, there is no limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// successfulHistoryLimit is the number of delivered messages to keep. Those with a readPolicy that is due, or with an
	// escalation under way, are not deleted.
	// +optional
	// +kubebuilder:default=3
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	SuccessfulHistoryLimit *int32 `json:"successfulHistoryLimit,omitempty"`

	// failedHistoryLimit is the number of messages to keep that have finished without being delivered to all recipients.
	// Those with a readPolicy that is due, or with an escalation under way, are not deleted.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	FailedHistoryLimit *int32 `json:"failedHistoryLimit,omitempty"`

	// messageTemplate describes the messages. An edit applies to the messages that are created later.
	// +required
	MessageTemplate MessageTemplate `json:"messageTemplate,omitzero"`
}

// MessageTemplate describes the TeamTalkMessages of a schedule.
type MessageTemplate struct {
	// metadata is added to the metadata of each message.
	// +optional
	Metadata TemplateMetadata `json:"metadata,omitzero"`

	// spec is the spec of each message. Its idempotencyKey derives from the schedule and the scheduled time. sendAfter,
	// deadline and audio must not be set.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.idempotencyKey)",message="a scheduled message has an idempotencyKey of its own: remove it",fieldPath=".idempotencyKey"
	// +kubebuilder:validation:XValidation:rule="self.onChange != 'Resend'",message="onChange: Resend does not go with a schedule: each scheduled message has an idempotencyKey, and an edit of the schedule is for later ones",fieldPath=".onChange"
	// +kubebuilder:validation:XValidation:rule="!has(self.content.audio)",message="audio cannot be scheduled, because it cannot have an idempotencyKey: send it with a TeamTalkMessage",fieldPath=".content.audio"
	// +kubebuilder:validation:XValidation:rule="!has(self.sendAfter) && !has(self.deadline)",message="sendAfter and deadline are one point in time: use schedule, and activeDeadlineSeconds"
	Spec TeamTalkMessageSpec `json:"spec,omitzero"`
}

// TemplateMetadata is metadata that is added to created objects.
type TemplateMetadata struct {
	// labels are added to the labels of each message. The operator sets the label teamtalk.io/schedule.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`

	// annotations are added to the annotations of each message.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}

// TeamTalkScheduleStatus is the observed state of a schedule.
type TeamTalkScheduleStatus struct {
	// observedGeneration is the generation that the status is about. It is -1 before the first one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions holds Ready, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// lastScheduleTime is the last scheduled time for which a message was created.
	// +optional
	LastScheduleTime *metav1.Time `json:"lastScheduleTime,omitempty"`

	// nextScheduleTime is the next scheduled time. It is unset while the schedule is suspended or invalid.
	// +optional
	NextScheduleTime *metav1.Time `json:"nextScheduleTime,omitempty"`

	// lastSuccessfulTime is the time when a message of the schedule was last delivered to all recipients.
	// +optional
	LastSuccessfulTime *metav1.Time `json:"lastSuccessfulTime,omitempty"`

	// active is the number of messages that have not finished.
	// +optional
	Active int32 `json:"active"`

	// handledUntil is the time up to which the operator has handled scheduled times: their messages were created or
	// missed.
	// +optional
	HandledUntil *metav1.Time `json:"handledUntil,omitempty"`

	// handledSchedule is the schedule and the time zone that handledUntil is about. After they change, scheduled times
	// count from when the operator sees the change.
	// +optional
	// +kubebuilder:validation:MaxLength=321
	HandledSchedule string `json:"handledSchedule,omitempty"`
}

// TeamTalkSchedule sends a message at the times of a cron schedule.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkschedules,singular=teamtalkschedule,shortName=ttsched,categories=teamtalk
// +kubebuilder:printcolumn:name="Schedule",type=string,JSONPath=`.spec.schedule`
// +kubebuilder:printcolumn:name="Time zone",type=string,JSONPath=`.spec.timeZone`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastScheduleTime`
// +kubebuilder:printcolumn:name="Next",type=string,JSONPath=`.status.nextScheduleTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Ready",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Suspend",type=boolean,priority=1,JSONPath=`.spec.suspend`
// +kubebuilder:printcolumn:name="Active",type=integer,priority=1,JSONPath=`.status.active`
// +kubebuilder:printcolumn:name="Last successful",type=date,priority=1,JSONPath=`.status.lastSuccessfulTime`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 52",message="a schedule's name has at most 52 characters: its messages' names have 11 more",fieldPath=".metadata"
type TeamTalkSchedule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec describes the message and when to send it.
	// +required
	Spec TeamTalkScheduleSpec `json:"spec,omitzero"`

	// status is the observed state of the schedule.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1,"active":0}
	Status TeamTalkScheduleStatus `json:"status,omitzero"`
}

// TeamTalkScheduleList is a list of TeamTalkSchedules.
//
// +kubebuilder:object:root=true
type TeamTalkScheduleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TeamTalkSchedule `json:"items"`
}

// Suspended reports whether spec.suspend is true.
func (s *TeamTalkSchedule) Suspended() bool { return s.Spec.Suspend != nil && *s.Spec.Suspend }

// Deadline returns how late a message may be created. If it is 0, there is no limit.
func (s *TeamTalkSchedule) Deadline() time.Duration {
	if s.Spec.StartingDeadlineSeconds == nil {
		return 0
	}
	return time.Duration(min(*s.Spec.StartingDeadlineSeconds, maxSeconds)) * time.Second
}

// ScheduledMessage returns the message of a scheduled time, which is a whole minute. Its name and idempotencyKey derive
// from the time, so that it is neither created nor sent twice.
func (s *TeamTalkSchedule) ScheduledMessage(at time.Time) *TeamTalkMessage {
	m := &TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.Namespace, Name: fmt.Sprintf("%s-%d", s.Name, at.Unix()/60),
		Labels:      map[string]string{},
		Annotations: map[string]string{},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: GroupVersion.String(), Kind: "TeamTalkSchedule", Name: s.Name, UID: s.UID, Controller: new(true),
		}},
	}}
	maps.Copy(m.Labels, s.Spec.MessageTemplate.Metadata.Labels)
	maps.Copy(m.Annotations, s.Spec.MessageTemplate.Metadata.Annotations)
	m.Labels[ScheduleLabel] = s.Name
	m.Annotations[ScheduledAtAnnotation] = at.UTC().Format(time.RFC3339)
	s.Spec.MessageTemplate.Spec.DeepCopyInto(&m.Spec)
	m.Spec.IdempotencyKey = scheduleKey(s.UID, at)
	return m
}

func scheduleKey(uid types.UID, at time.Time) string {
	return fmt.Sprintf("schedule-%s-%s", uid, at.UTC().Format("20060102T1504Z"))
}
