package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Limits of one message.
const (
	// DefaultServerName is the server of messages that name none.
	DefaultServerName = "default"
	// MaxRecipients of one message, after users and groups are added up.
	MaxRecipients = 1000
	// MaxParts is how many parts a long text is split into at most.
	MaxParts = 20
	// MaxTextBytes is the longest text that is split, in bytes.
	MaxTextBytes = 64 << 10
	// MaxRecipientMessage is the longest message of one recipient's status, in characters.
	MaxRecipientMessage = 128
)

// RetryAnnotation on a finished TeamTalkMessage: whenever its value changes, the
// recipients that failed with nothing stored are tried again.
const RetryAnnotation = "teamtalk.io/retry"

// LongText says what becomes of a text that TeamTalk cannot hold in one message.
//
// +kubebuilder:validation:Enum=Reject;Split
type LongText string

// Values of LongText.
const (
	// LongTextReject fails the message with ContentTooLong.
	LongTextReject LongText = "Reject"
	// LongTextSplit sends it in numbered parts, in order.
	LongTextSplit LongText = "Split"
)

// TeamTalkMessageSpec is one message, to users and groups.
//
// +kubebuilder:validation:XValidation:rule="!has(self.sendAfter) || !has(self.deadline) || self.sendAfter < self.deadline",message="deadline must be later than sendAfter",fieldPath=".deadline"
// +kubebuilder:validation:XValidation:rule="!has(self.idempotencyKey) || !has(self.content.audio)",message="audio cannot have an idempotencyKey: it carries no delivery token by which it could be found again",fieldPath=".idempotencyKey"
// +kubebuilder:validation:XValidation:rule="!has(self.senderID) || !has(self.to.users) || !self.to.users.exists(u, u == self.senderID)",message="senderID must not be among to.users: TeamTalk stores no message from a user to itself",fieldPath=".to.users"
type TeamTalkMessageSpec struct {
	// serverRef names the TeamTalkServer to send through; left out: the one
	// named "default" in this namespace.
	// +optional
	// +kubebuilder:default={name: default}
	ServerRef *ServerReference `json:"serverRef,omitempty"`

	// senderID is the TeamTalk user that the message speaks as; left out: the
	// server's default sender.
	// +optional
	SenderID *UserID `json:"senderID,omitempty"`

	// to lists who gets the message. Each gets it once.
	// +required
	To Recipients `json:"to,omitzero"`

	// content is what is sent.
	// +required
	Content Content `json:"content,omitzero"`

	// longText says what becomes of a text or textFrom that is longer than one
	// TeamTalk message: Reject fails with ContentTooLong; Split sends it in at most
	// 20 numbered parts, in order.
	// +optional
	// +kubebuilder:default=Reject
	LongText LongText `json:"longText,omitempty"`

	// sendAfter: nothing is sent before this time.
	// +optional
	SendAfter *metav1.Time `json:"sendAfter,omitempty"`

	// deadline: nothing is sent at or after this time. What is provably unsent then
	// fails with DeadlineExceeded; a doubt that cannot be settled, with OutcomeUnknown.
	// +optional
	Deadline *metav1.Time `json:"deadline,omitempty"`

	// activeDeadlineSeconds is a deadline counted from sendAfter, or from the
	// creation where that is later or there is no sendAfter. The earlier of both
	// deadlines counts.
	// +optional
	// +kubebuilder:validation:Minimum=1
	ActiveDeadlineSeconds *int64 `json:"activeDeadlineSeconds,omitempty"`

	// suspend keeps from being sent what has not been sent yet. A deadline runs on.
	// +optional
	Suspend *bool `json:"suspend,omitempty"`

	// ttlSecondsAfterFinished deletes the resource this long after it has finished;
	// left out: it is kept. A message with it, and without an idempotencyKey, is
	// known by its name: created again under the same name it is not sent again.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// idempotencyKey: what has the same key is sent once per namespace, sender
	// and recipient, whatever becomes of the resource. The store is searched for it
	// as far back as the server's idempotencyWindowSeconds. With another text it
	// fails with KeyReused. Left out: the resource's UID.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	IdempotencyKey string `json:"idempotencyKey,omitempty"`

	// retryLimit is how often a recipient is tried again after a failure that
	// may pass. What may have been sent is never tried again unless the store
	// proves that it was not.
	// +optional
	// +kubebuilder:default=10
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	RetryLimit *int32 `json:"retryLimit,omitempty"`
}

// ServerReference names a TeamTalkServer.
type ServerReference struct {
	// name of the TeamTalkServer.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// namespace of the TeamTalkServer, which must permit this one; left out: this one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// Recipients lists who gets a message.
//
// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) > 0",message="name at least one recipient in users or groups"
// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) <= 1000",message="at most 1000 recipients in all"
type Recipients struct {
	// users by TeamTalk user id.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Users []UserID `json:"users,omitempty"`

	// groups by TeamTalk group id. The sender must be a member.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Groups []GroupID `json:"groups,omitempty"`
}

// Content is what is sent: exactly one of its fields.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type Content struct {
	// text, in UTF-8. TeamTalk holds at most 3051 bytes of it (3068 where the
	// server disables delivery tokens).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=65536
	Text *string `json:"text,omitempty"`

	// json is an object, sent as compact JSON text.
	// +optional
	JSON map[string]JSONValue `json:"json,omitempty"`

	// textFrom takes the text from a ConfigMap of this namespace, as it is when
	// the message is sent.
	// +optional
	TextFrom *TextSource `json:"textFrom,omitempty"`

	// image sends TeamTalk's image marker with the picture's URL.
	// +optional
	Image *ImageContent `json:"image,omitempty"`

	// audio sends a voice message. It is not encrypted on the wire.
	// +optional
	Audio *AudioContent `json:"audio,omitempty"`
}

// JSONValue is any JSON value, as it was written. Validation rules do not see into
// it, but can tell whether it has changed: that is why an object is declared key
// by key.
//
// +kubebuilder:validation:Type=""
// +kubebuilder:pruning:PreserveUnknownFields
type JSONValue struct {
	Raw []byte `json:"-"`
}

// MarshalJSON writes the value as it is.
func (v JSONValue) MarshalJSON() ([]byte, error) {
	if len(v.Raw) == 0 {
		return []byte("null"), nil
	}
	return v.Raw, nil
}

// UnmarshalJSON keeps the value as it is.
func (v *JSONValue) UnmarshalJSON(b []byte) error {
	v.Raw = append([]byte(nil), b...)
	return nil
}

// TextSource is where a text comes from. Secrets are left out on purpose:
// whoever may write messages must not be able to read Secrets by mailing them.
type TextSource struct {
	// configMapKeyRef names a key of a ConfigMap, in data or binaryData.
	// +required
	ConfigMapKeyRef ConfigMapKeyRef `json:"configMapKeyRef,omitzero"`
}

// ConfigMapKeyRef names one key of a ConfigMap in the same namespace.
type ConfigMapKeyRef struct {
	// name of the ConfigMap.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key in its data or binaryData.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// ImageContent is a picture that clients load from its URL.
type ImageContent struct {
	// url of the picture, http or https.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^ :/]+[^ ]*$') && !self.contains(':}]&$')",message="url must be an http or https URL that does not contain TeamTalk's end marker"
	URL string `json:"url,omitempty"`

	// caption is text after the picture.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=3000
	Caption string `json:"caption,omitempty"`
}

// AudioContent is a voice message.
type AudioContent struct {
	// seconds that clients show as its length.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=3600
	Seconds int32 `json:"seconds,omitempty"`

	// configMapKeyRef names the sound, in the ConfigMap's binaryData.
	// +required
	ConfigMapKeyRef ConfigMapKeyRef `json:"configMapKeyRef,omitzero"`
}

// TeamTalkMessageStatus is what became of a message.
type TeamTalkMessageStatus struct {
	// observedGeneration is the spec that the status speaks of; -1: none yet.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready, Reconciling, Stalled, Delivered, Finished.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// senderID is the user that the message speaks as.
	// +optional
	SenderID *UserID `json:"senderID,omitempty"`

	// toSummary names the recipients in short, for the printer column.
	// +optional
	ToSummary string `json:"toSummary,omitempty"`

	// recipientsSummary is delivered/all, for the printer column.
	// +optional
	RecipientsSummary string `json:"recipientsSummary,omitempty"`

	// counts add up the recipients.
	// +optional
	Counts *RecipientCounts `json:"counts,omitempty"`

	// recipients, each with its own fate. There is one of each type and id. The
	// operator alone writes them, and all at once: a list that is merged by keys
	// would cost the API server a quarter more of its time for each write with
	// 1,000 recipients, to track an owner for every one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Recipients []RecipientStatus `json:"recipients,omitempty"`

	// split identifies a text from a ConfigMap that is sent in parts, recorded before
	// the first of them is sent. The others are sent only of this text.
	// +optional
	Split *SplitText `json:"split,omitempty"`

	// lastHandledRetry is the value of the annotation teamtalk.io/retry that was
	// last acted upon.
	// +optional
	LastHandledRetry string `json:"lastHandledRetry,omitempty"`

	// startTime is when the message was first taken up.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// completionTime is when the last recipient was settled.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// SplitText identifies a text that is sent in parts.
type SplitText struct {
	// parts that it is sent in.
	// +required
	// +kubebuilder:validation:Minimum=2
	// +kubebuilder:validation:Maximum=20
	Parts int32 `json:"parts,omitempty"`

	// digest is SHA-256 over the parts, in hexadecimal digits.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`
}

// TeamTalkMessage is one message, to users and groups, and what became of it.
//
// What decides content, recipients and server is immutable until the
// message is finished with nothing stored: what has been said stays said.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkmessages,singular=teamtalkmessage,shortName=ttm,categories=teamtalk
// +kubebuilder:printcolumn:name="To",type=string,JSONPath=`.status.toSummary`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Delivered",type=string,JSONPath=`.status.recipientsSummary`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Sender",type=integer,priority=1,JSONPath=`.status.senderID`
// +kubebuilder:printcolumn:name="Server",type=string,priority=1,JSONPath=`.spec.serverRef.name`
// +kubebuilder:validation:XValidation:rule="(self.spec.to == oldSelf.spec.to && self.spec.content == oldSelf.spec.content && has(self.spec.senderID) == has(oldSelf.spec.senderID) && (!has(self.spec.senderID) || self.spec.senderID == oldSelf.spec.senderID) && has(self.spec.serverRef) == has(oldSelf.spec.serverRef) && (!has(self.spec.serverRef) || self.spec.serverRef == oldSelf.spec.serverRef) && has(self.spec.longText) == has(oldSelf.spec.longText) && (!has(self.spec.longText) || self.spec.longText == oldSelf.spec.longText) && has(self.spec.idempotencyKey) == has(oldSelf.spec.idempotencyKey) && (!has(self.spec.idempotencyKey) || self.spec.idempotencyKey == oldSelf.spec.idempotencyKey)) || (has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c, c.type == 'Finished' && c.status == 'True') && has(oldSelf.status.recipients) && oldSelf.status.recipients.all(r, r.state == 'Failed' && (!has(r.reason) || r.reason != 'OutcomeUnknown') && !has(r.messageIDs)))",message="to, content, longText, senderID, serverRef and idempotencyKey cannot change once the message is under way: create another TeamTalkMessage; or, if it may be lost, delete this one and create it again; edits are taken once it has Finished with nothing stored"
// +kubebuilder:validation:XValidation:rule="has(self.spec.ttlSecondsAfterFinished) == has(oldSelf.spec.ttlSecondsAfterFinished) || has(self.spec.idempotencyKey) || has(self.spec.content.audio) || (has(oldSelf.status) && has(oldSelf.status.conditions) && oldSelf.status.conditions.exists(c, c.type == 'Finished' && c.status == 'True'))",message="ttlSecondsAfterFinished cannot be added or removed before the message has Finished: with it, and without an idempotencyKey, a message is known by its name",fieldPath=".spec.ttlSecondsAfterFinished"
type TeamTalkMessage struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is the message as declared.
	// +required
	Spec TeamTalkMessageSpec `json:"spec,omitzero"`

	// status is what became of it.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
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
