// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits of one message.
const (
	// DefaultServerName is the server of messages without a serverRef.
	DefaultServerName = "default"
	// MaxRecipients is the highest number of users and groups of one message.
	MaxRecipients = 1000
	// MaxSegments is the highest number of segments of a text that is split.
	MaxSegments = 20
	// MaxTextBytes is the longest text that is split, in bytes.
	MaxTextBytes = 64 << 10
	// MaxFirstLine is the longest first line of an escalation, in bytes, with the line break.
	MaxFirstLine = 64
	// MaxRevisions is the highest number of revisions in the status.
	MaxRevisions = 10
	// MaxRecipientMessage is the longest message in the status of a recipient, in characters.
	MaxRecipientMessage = 128
)

// RetryAnnotation requests a retry. Each new value retries the recipients that failed with nothing stored.
const RetryAnnotation = "teamtalk.io/retry"

// ResolvedAnnotation is the time when the alerts of a message were resolved. Receivers set it. A message with it is not
// escalated.
const ResolvedAnnotation = "teamtalk.io/resolved-at"

// Fields of a TeamTalkMessage that can be selected. Their values are "true" and "false".
const (
	FieldFinished = "status.finished"
	FieldSettled  = "status.settled"
)

// LongText is the policy for texts that do not fit into one TeamTalk message.
//
// +kubebuilder:validation:Enum=Reject;Split
type LongText string

// Values of LongText.
const (
	LongTextReject LongText = "Reject"
	LongTextSplit  LongText = "Split"
)

// OnChange is the policy for edits of to, content and longText.
//
// +kubebuilder:validation:Enum=Reject;Resend
type OnChange string

// Values of OnChange.
const (
	OnChangeReject OnChange = "Reject"
	OnChangeResend OnChange = "Resend"
)

// TeamTalkMessageSpec is the desired message.
//
// +kubebuilder:validation:XValidation:rule="self.onChange != 'Resend' || !(has(self.idempotencyKey) || has(self.ttlSecondsAfterFinished) || has(self.content.audio))",message="onChange: Resend does not go with idempotencyKey, ttlSecondsAfterFinished or audio: they identify the message by something else than its resource",fieldPath=".onChange"
// +kubebuilder:validation:XValidation:rule="!has(self.sendAfter) || !has(self.deadline) || self.sendAfter < self.deadline",message="deadline must be later than sendAfter",fieldPath=".deadline"
// +kubebuilder:validation:XValidation:rule="!has(self.idempotencyKey) || !has(self.content.audio)",message="audio cannot have an idempotencyKey, because it has no delivery token",fieldPath=".idempotencyKey"
// +kubebuilder:validation:XValidation:rule="!has(self.senderID) || !has(self.to.users) || !(self.senderID in self.to.users)",message="senderID must not be among to.users: TeamTalk stores no message from a user to itself",fieldPath=".to.users"
// +kubebuilder:validation:XValidation:rule="!has(self.readPolicy) || !has(self.readPolicy.quorum) || self.readPolicy.quorum <= (has(self.to.users) ? self.to.users.size() : 0) + (has(self.to.groups) ? self.to.groups.size() : 0) + (has(self.to.userNames) ? self.to.userNames.size() : 0) + (has(self.to.groupNames) ? self.to.groupNames.size() : 0) + (has(self.to.groupRefs) ? self.to.groupRefs.size() : 0)",message="quorum must not be more than the number of recipients",fieldPath=".readPolicy.quorum"
// +kubebuilder:validation:XValidation:rule="!has(self.readPolicy) || !has(self.readPolicy.escalateTo) || (has(self.to.users) ? self.to.users.size() : 0) + (has(self.to.groups) ? self.to.groups.size() : 0) + (has(self.to.userNames) ? self.to.userNames.size() : 0) + (has(self.to.groupNames) ? self.to.groupNames.size() : 0) + (has(self.to.groupRefs) ? self.to.groupRefs.size() : 0) + (has(self.readPolicy.escalateTo.users) ? self.readPolicy.escalateTo.users.size() : 0) + (has(self.readPolicy.escalateTo.groups) ? self.readPolicy.escalateTo.groups.size() : 0) + (has(self.readPolicy.escalateTo.userNames) ? self.readPolicy.escalateTo.userNames.size() : 0) + (has(self.readPolicy.escalateTo.groupNames) ? self.readPolicy.escalateTo.groupNames.size() : 0) + (has(self.readPolicy.escalateTo.groupRefs) ? self.readPolicy.escalateTo.groupRefs.size() : 0) <= 1000",message="at most 1000 recipients in to and escalateTo together",fieldPath=".readPolicy.escalateTo"
// +kubebuilder:validation:XValidation:rule="!has(self.readPolicy) || !has(self.readPolicy.escalateTo) || !has(self.content.audio)",message="audio cannot be escalated, because it has no first line that says so",fieldPath=".readPolicy.escalateTo"
// +kubebuilder:validation:XValidation:rule="!has(self.senderID) || !has(self.readPolicy) || !has(self.readPolicy.escalateTo) || !has(self.readPolicy.escalateTo.users) || !(self.senderID in self.readPolicy.escalateTo.users)",message="senderID must not be among escalateTo.users: TeamTalk stores no message from a user to itself",fieldPath=".readPolicy.escalateTo.users"
type TeamTalkMessageSpec struct {
	// serverRef refers to the TeamTalkServer that sends the message. If unset, it is the server "default"
	// in the message's namespace.
	// +optional
	// +kubebuilder:default={name: default}
	ServerRef *ServerReference `json:"serverRef,omitempty"`

	// senderID is the TeamTalk user who sends the message. If unset, it is senders.default of the server.
	// +optional
	SenderID *UserID `json:"senderID,omitempty"`

	// to lists the recipients. Each of them gets the message exactly once.
	// +required
	// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) + (has(self.groupNames) ? self.groupNames.size() : 0) + (has(self.groupRefs) ? self.groupRefs.size() : 0) > 0",message="name at least one recipient in users, userNames, groups, groupNames or groupRefs"
	// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) + (has(self.groupNames) ? self.groupNames.size() : 0) + (has(self.groupRefs) ? self.groupRefs.size() : 0) <= 1000",message="at most 1000 recipients in all"
	To Recipients `json:"to,omitzero"`

	// content is the content of the message.
	// +required
	Content Content `json:"content,omitzero"`

	// longText is the policy for a text or textFrom that is longer than one TeamTalk message. Reject fails the message
	// with the reason ContentTooLong. Split sends up to 20 numbered segments, in order.
	// +optional
	// +kubebuilder:default=Reject
	LongText LongText `json:"longText,omitempty"`

	// onChange is the policy for edits of to, content and longText. With Reject, the API server refuses an edit unless the
	// message has finished with nothing stored. With Resend, each edit is a revision. A changed content is sent to all
	// recipients. With an unchanged content, only new recipients get the message. Recipients to which the earlier revision
	// was not sent yet are superseded. One edit may set Resend and change the content.
	// +optional
	// +kubebuilder:default=Reject
	OnChange OnChange `json:"onChange,omitempty"`

	// sendAfter is the time before which the message is not sent. If unset, it is sent immediately.
	// +optional
	SendAfter *metav1.Time `json:"sendAfter,omitempty"`

	// deadline is the time after which the message is not sent. Recipients then fail with the reason DeadlineExceeded, or
	// with OutcomeUnknown if the store cannot prove that nothing was stored.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// activeDeadlineSeconds limits the time for delivery, counted from the creation or from sendAfter, whichever is later.
	// If deadline is set too, the earlier one applies.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// suspend stops the operator from sending the message to recipients to which it was not sent yet. It does not extend a
	// deadline.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// ttlSecondsAfterFinished limits the lifetime of a message that has finished. If unset, the message is kept. With a
	// readPolicy, the time starts when the condition Read is decided and the escalation has ended. With this field, a
	// message without idempotencyKey and metadata.generateName is identified by its name and text: created again with both
	// unchanged, it is not sent again. With another text, it is another message. This holds as long as the store can be
	// searched back to the earlier message: at least idempotencyWindowSeconds of the server. GitOps tools, such as Flux
	// and Argo CD, create the message again each time it is deleted. Leave the field unset there.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// idempotencyKey identifies the message across resources. Messages with the same key are sent once for each namespace,
	// sender and recipient, even if the resource is deleted. The store is searched at least back to
	// idempotencyWindowSeconds of the server. A message with the same key and another text fails with the reason
	// KeyReused. If unset, the UID identifies the message, or its name and text (see ttlSecondsAfterFinished).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	IdempotencyKey string `json:"idempotencyKey,omitempty"`

	// readPolicy describes who must read the message, and by when. The condition Read shows the outcome. If unset, the
	// operator records the reads that it sees within a day, until it restarts.
	// +optional
	ReadPolicy *ReadPolicy `json:"readPolicy,omitempty"`

	// language is the language of the first line of an escalation. If unset, it is en.
	// +optional
	Language Language `json:"language,omitempty"`

	// retryLimit limits the retries for a recipient after transient failures. A message that may have been sent is retried
	// only if the store proves that it is not stored.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RetryLimit *int32 `json:"retryLimit,omitempty"`
}

// ServerReference refers to a TeamTalkServer.
type ServerReference struct {
	// name is the name of the TeamTalkServer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// namespace is the namespace of the TeamTalkServer. The TeamTalkServer must allow the message's namespace. If unset,
	// it is the message's namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// Content is the content of a message. Exactly one of its fields must be set.
//
// +kubebuilder:validation:XValidation:rule="(has(self.text)?1:0)+(has(dyn(self).json)?1:0)+(has(self.textFrom)?1:0)+(has(self.image)?1:0)+(has(self.audio)?1:0) == 1",message="exactly one of the fields in [text json textFrom image audio] must be set"
type Content struct {
	// text is a text in UTF-8. One TeamTalk message holds up to 3051 bytes, or 3068 if the server disables
	// delivery tokens.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Text *string `json:"text,omitempty"`

	// json is an object that is sent as compact JSON.
	// +optional
	JSON map[string]JSONValue `json:"json,omitempty"`

	// textFrom is a text from a ConfigMap in this namespace. It is read when the message is sent.
	// +optional
	TextFrom *TextSource `json:"textFrom,omitempty"`

	// image is a picture. Its URL is sent in TeamTalk's image marker.
	// +optional
	Image *ImageContent `json:"image,omitempty"`

	// audio is a voice message. TeamTalk does not encrypt audio.
	// +optional
	Audio *AudioContent `json:"audio,omitempty"`
}

// JSONValue is any JSON value. Validation rules cannot read it, but detect a change of a map of such values.
//
// +kubebuilder:validation:Type=""
// +kubebuilder:pruning:PreserveUnknownFields
type JSONValue struct {
	Raw []byte `json:"-"`
}

// MarshalJSON implements json.Marshaler.
func (v JSONValue) MarshalJSON() ([]byte, error) {
	if len(v.Raw) == 0 {
		return []byte("null"), nil
	}
	return v.Raw, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *JSONValue) UnmarshalJSON(b []byte) error {
	v.Raw = append([]byte(nil), b...)
	return nil
}

// TextSource is the source of a text. Secrets are not supported: users who may create messages could send their
// contents to themselves.
type TextSource struct {
	// configMapKeyRef selects a key of a ConfigMap, in data or binaryData.
	// +required
	ConfigMapKeyRef ConfigMapKeyRef `json:"configMapKeyRef,omitzero"`
}

// ConfigMapKeyRef selects a key of a ConfigMap in the same namespace.
type ConfigMapKeyRef struct {
	// name is the name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is a key in data or binaryData.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// ImageContent is a picture that clients load from a URL.
type ImageContent struct {
	// url is the http or https URL of the picture.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^ :/]+[^ ]*$') && !self.contains(':}]&$')",message="url must be an http or https URL that does not contain TeamTalk's end marker"
	URL string `json:"url,omitempty"`

	// caption is a text below the picture.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=3000
	Caption string `json:"caption,omitempty"`
}

// AudioContent is a voice message.
type AudioContent struct {
	// seconds is the length that clients show.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	Seconds int32 `json:"seconds,omitempty"`

	// configMapKeyRef selects the sound, in binaryData of a ConfigMap.
	// +required
	ConfigMapKeyRef ConfigMapKeyRef `json:"configMapKeyRef,omitzero"`
}

// TeamTalkMessageStatus is the observed state of a message.
//
// +kubebuilder:validation:XValidation:rule="!self.settled || self.finished",message="only a message that has finished can be settled",fieldPath=".settled"
type TeamTalkMessageStatus struct {
	// observedGeneration is the generation that the status is about. It is -1 before the first one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// finished is true when the condition Finished is True. It can be selected:
	// kubectl get ttm --field-selector status.finished=false
	// +optional
	// +kubebuilder:default=false
	Finished bool `json:"finished"`

	// settled is true when the operator has nothing left to do for the message: it has finished, no read, escalation or
	// retry is due, and it has no ttlSecondsAfterFinished. It can be selected.
	// +optional
	// +kubebuilder:default=false
	Settled bool `json:"settled"`

	// conditions holds Ready, Reconciling, Stalled, Delivered, Finished, Read and Escalated.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// senderID is the user who sends the message.
	// +optional
	SenderID *UserID `json:"senderID,omitempty"`

	// toSummary is a short list of the recipients, for the printer column.
	// +optional
	ToSummary string `json:"toSummary,omitempty"`

	// recipientsSummary is delivered/all recipients, for the printer column.
	// +optional
	RecipientsSummary string `json:"recipientsSummary,omitempty"`

	// readSummary is read/routed recipients of a message that has finished, for the printer column.
	// +optional
	ReadSummary string `json:"readSummary,omitempty"`

	// counts holds the numbers of recipients by state.
	// +optional
	Counts *RecipientCounts `json:"counts,omitempty"`

	// recipients is the delivery status of each recipient. Entries are unique by type and id, or by type, name and ref if
	// they have no id. They are left out if the message has failed with the reason StatusTooLarge.
	//
	// The list is atomic: only the operator writes it. With a map list, a write with 1,000 recipients takes the API server
	// 25 % longer.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Recipients []RecipientStatus `json:"recipients,omitempty"`

	// escalation is the delivery status for the recipients in readPolicy.escalateTo. Before the message is escalated, it
	// shows the ids that were found for their names. It is unset once the message cannot be escalated any more.
	// +optional
	Escalation *EscalationStatus `json:"escalation,omitempty"`

	// text identifies the text that may be in the store. It is recorded before the first send of a revision. For a
	// text from a ConfigMap, it is also recorded if the message has an idempotencyKey or a ttlSecondsAfterFinished, or if
	// the text has several segments. For other texts with several segments, it is recorded with the first status.
	// Another text replaces it only when the store proves that nothing of it was stored.
	// +optional
	Text *RecordedText `json:"text,omitempty"`

	// lastHandledRetry is the last value of the annotation teamtalk.io/retry that was handled. If the value is longer than
	// 253 bytes, its SHA-256 is recorded.
	// +optional
	LastHandledRetry string `json:"lastHandledRetry,omitempty"`

	// specDigest identifies the values of to, content, longText, senderID, serverRef and idempotencyKey that the status is
	// about. An edit that changes it begins a revision. If the message has finished with nothing stored, the edit starts
	// it again.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SpecDigest string `json:"specDigest,omitempty"`

	// contentDigest identifies the content and longText that the status is about.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ContentDigest string `json:"contentDigest,omitempty"`

	// revisions lists the last ten revisions of a message with onChange: Resend. The last one is the current one. A
	// revision is recorded before it is sent.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Revisions []RevisionStatus `json:"revisions,omitempty"`

	// startTime is the time when the operator accepted the message with its current content. It is not later than any
	// storedAt.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is the time when the message finished.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// RecordedText identifies a text by its digest.
type RecordedText struct {
	// digest is the SHA-256 of the text, in hexadecimal digits.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// segmentDigests lists the SHA-256 of each segment, if the text has several.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	// +kubebuilder:validation:items:MinLength=64
	// +kubebuilder:validation:items:MaxLength=64
	SegmentDigests []string `json:"segmentDigests,omitempty"`
}

// TeamTalkMessage is a message to users and groups. Creating it sends it.
//
// Content, recipients, sender and server are immutable until the message has finished with nothing stored. With
// onChange: Resend, content and recipients can change.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkmessages,singular=teamtalkmessage,shortName=ttm,categories=teamtalk
// +kubebuilder:selectablefield:JSONPath=`.status.finished`
// +kubebuilder:selectablefield:JSONPath=`.status.settled`
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.status.toSummary`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Delivered",type=string,JSONPath=`.status.recipientsSummary`
// +kubebuilder:printcolumn:name="Read",type=string,JSONPath=`.status.readSummary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Escalated",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Escalated")].reason`
// +kubebuilder:printcolumn:name="Sender",type=integer,priority=1,JSONPath=`.status.senderID`
// +kubebuilder:printcolumn:name="Server",type=string,priority=1,JSONPath=`.spec.serverRef.name`
// +kubebuilder:validation:XValidation:rule="(((self.spec.to == oldSelf.spec.to && self.spec.content == oldSelf.spec.content && has(self.spec.longText) == has(oldSelf.spec.longText) && (!has(self.spec.longText) || self.spec.longText == oldSelf.spec.longText)) || (self.spec.onChange == 'Resend' && !has(oldSelf.spec.content.audio))) && has(self.spec.senderID) == has(oldSelf.spec.senderID) && (!has(self.spec.senderID) || self.spec.senderID == oldSelf.spec.senderID) && has(self.spec.serverRef) == has(oldSelf.spec.serverRef) && (!has(self.spec.serverRef) || self.spec.serverRef == oldSelf.spec.serverRef) && has(self.spec.idempotencyKey) == has(oldSelf.spec.idempotencyKey) && (!has(self.spec.idempotencyKey) || self.spec.idempotencyKey == oldSelf.spec.idempotencyKey)) || (has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c, c.type == 'Finished' && c.status == 'True') && has(oldSelf.status.recipients) && oldSelf.status.recipients.all(r, r.state == 'Failed' && (!has(r.reason) || r.reason != 'OutcomeUnknown') && !(has(r.inDoubtSince) && has(r.reason) && r.reason == 'GroupNotFound') && !has(r.messageIDs)) && !(has(oldSelf.status.escalation) && has(oldSelf.status.escalation.startTime)))",message="to, content, longText, senderID, serverRef and idempotencyKey are immutable until the message has Finished with nothing stored. To send the edit, set onChange: Resend. To send another text, create a TeamTalkMessage with another name. To replace this one, delete it and create it again, or set ttlSecondsAfterFinished and create it again when it is deleted",fieldPath=".spec"
// +kubebuilder:validation:XValidation:rule="self.spec.onChange != 'Resend' || oldSelf.spec.onChange == 'Resend' || (has(oldSelf.status) && has(oldSelf.status.specDigest))",message="onChange can be set to Resend only after the operator has recorded the message in its status: try again in a moment",fieldPath=".spec.onChange"
// +kubebuilder:validation:XValidation:rule="(has(self.spec.ttlSecondsAfterFinished) == has(oldSelf.spec.ttlSecondsAfterFinished) && has(self.metadata.generateName) == has(oldSelf.metadata.generateName)) || has(self.spec.idempotencyKey) || has(self.spec.content.audio) || (has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c, c.type == 'Finished' && c.status == 'True') && (!has(oldSelf.status.recipients) || oldSelf.status.recipients.all(r, !(has(r.inDoubtSince) && has(r.reason) && r.reason == 'GroupNotFound'))) && !(has(oldSelf.status.escalation) && has(oldSelf.status.escalation.startTime) && !has(oldSelf.status.escalation.completionTime)))",message="ttlSecondsAfterFinished and metadata.generateName cannot be added or removed before the message has Finished with no recipient in doubt: without an idempotencyKey, they decide what identifies the message",fieldPath=".spec.ttlSecondsAfterFinished"
type TeamTalkMessage struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the desired message.
	// +required
	Spec TeamTalkMessageSpec `json:"spec,omitzero"`

	// status is the observed state of the message.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1,"finished":false,"settled":false}
	Status TeamTalkMessageStatus `json:"status,omitzero"`
}

// TeamTalkMessageList is a list of TeamTalkMessages.
//
// +kubebuilder:object:root=true
type TeamTalkMessageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TeamTalkMessage `json:"items"`
}
