package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels of the messages that a receiver makes.
const (
	// ReceiverLabel names the TeamTalkReceiver that a message came through.
	ReceiverLabel = "teamtalk.io/receiver"
	// NotificationLabel has the hash of what was notified: messages with the same
	// one are repeats of each other, numbered at the end of their names.
	NotificationLabel = "teamtalk.io/notification"
)

// Reasons of a TeamTalkReceiver's Ready, beside Ready and ServerNotFound.
const (
	// ReasonTemplateInvalid: a template does not parse. Messages are made with the
	// built-in one until it does.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonSecretNotFound: the Secret that callers are checked against, or the key
	// in it, does not exist or is empty. Callers are answered with 503 until it does.
	ReasonSecretNotFound = "SecretNotFound"
)

// ReceiverType says what a receiver is sent.
//
// +kubebuilder:validation:Enum=Alertmanager;Generic
type ReceiverType string

// Receiver types.
const (
	// ReceiverAlertmanager takes webhooks of Prometheus Alertmanager, version 4.
	ReceiverAlertmanager ReceiverType = "Alertmanager"
	// ReceiverGeneric takes any JSON.
	ReceiverGeneric ReceiverType = "Generic"
)

// TeamTalkReceiverSpec says what is received, and what messages are made of it.
//
// +kubebuilder:validation:XValidation:rule="has(self.toLabel) == has(self.allow)",message="toLabel and allow go together: allow lists the recipients that the label may name"
// +kubebuilder:validation:XValidation:rule="self.type == 'Alertmanager' || (!has(self.toLabel) && !has(self.groupBy) && !has(self.resolvedTemplate))",message="toLabel, groupBy and resolvedTemplate go with type Alertmanager"
// +kubebuilder:validation:XValidation:rule="self.type == 'Generic' || !has(self.authentication) || !has(self.authentication.hmacSecretRef)",message="authentication.hmacSecretRef goes with type Generic: Alertmanager does not sign",fieldPath=".authentication"
// +kubebuilder:validation:XValidation:rule="!has(self.senderID) || ((!has(self.to.users) || !self.to.users.exists(u, u == self.senderID)) && (!has(self.allow) || !has(self.allow.users) || !self.allow.users.exists(u, u == self.senderID)))",message="senderID must not be among to.users or allow.users: TeamTalk stores no message from a user to itself",fieldPath=".senderID"
// +kubebuilder:validation:XValidation:rule="self.ttlSecondsAfterFinished >= self.dedupWindowSeconds",message="ttlSecondsAfterFinished must not be less than dedupWindowSeconds: a repeat is known by the message before it",fieldPath=".ttlSecondsAfterFinished"
type TeamTalkReceiverSpec struct {
	// type is what is received: Alertmanager (its webhook, version 4) or Generic
	// (any JSON).
	// +required
	Type ReceiverType `json:"type,omitempty"`

	// serverRef names the TeamTalkServer to send through; left out: the one
	// named "default" in this namespace.
	// +optional
	// +kubebuilder:default={name: default}
	ServerRef *ServerReference `json:"serverRef,omitempty"`

	// senderID is the TeamTalk user that the messages speak as; left out: the
	// server's default sender.
	// +optional
	SenderID *UserID `json:"senderID,omitempty"`

	// to lists who gets the messages: all, or with toLabel those of alerts that name
	// no allowed recipient.
	// +required
	To Recipients `json:"to,omitzero"`

	// toLabel is the label by which an alert names its recipients: user ids,
	// "group:" before the id of a group, commas between several.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[a-zA-Z_][a-zA-Z0-9_]*$`
	ToLabel string `json:"toLabel,omitempty"`

	// allow lists the recipients that toLabel may name. An alert that names anybody else goes to
	// those of them that it may name; if there are none, to the recipients in to.
	// +optional
	Allow *RecipientSet `json:"allow,omitempty"`

	// groupBy splits a notification further: alerts with the same values of these
	// labels are one message.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	GroupBy []string `json:"groupBy,omitempty"`

	// template makes the text, in Go's template language. Left out, or where it
	// fails: a built-in one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Template string `json:"template,omitempty"`

	// resolvedTemplate makes the text where all alerts are resolved; left out:
	// template does.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	ResolvedTemplate string `json:"resolvedTemplate,omitempty"`

	// authentication says how callers are known. Left out: they present a token of
	// the cluster whose owner may create TeamTalkMessages in this namespace.
	// +optional
	Authentication *ReceiverAuthentication `json:"authentication,omitempty"`

	// dedupWindowSeconds: the same notification within this time of its last message
	// is a retry, or a repeat by another Alertmanager of the cluster, and makes no
	// message. Longer than Alertmanager's retries, shorter than its repeat_interval.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	DedupWindowSeconds int32 `json:"dedupWindowSeconds,omitempty"`

	// floodControl bounds how many messages a recipient gets; left out: it does not.
	// +optional
	FloodControl *FloodControl `json:"floodControl,omitempty"`

	// ttlSecondsAfterFinished deletes the messages this long after they have finished.
	// +optional
	// +kubebuilder:default=604800
	// +kubebuilder:validation:Minimum=10
	TTLSecondsAfterFinished int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// FloodControl is a budget per recipient and window. What is beyond it is folded
// into one message at the window's end.
type FloodControl struct {
	// messages that a recipient gets in a window.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Messages int32 `json:"messages,omitempty"`

	// windowSeconds is how long a window is.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=3600
	WindowSeconds int32 `json:"windowSeconds,omitempty"`
}

// ReceiverAuthentication is how callers are known: exactly one of its fields.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type ReceiverAuthentication struct {
	// tokenSecretRef names the token that callers present, as "Authorization:
	// Bearer <token>".
	// +optional
	TokenSecretRef *TokenSecretRef `json:"tokenSecretRef,omitempty"`

	// hmacSecretRef names the key that callers sign the body with, as "X-Signature:
	// sha256=<HMAC-SHA256 in hex>".
	// +optional
	HMACSecretRef *TokenSecretRef `json:"hmacSecretRef,omitempty"`
}

// TokenSecretRef names one key of a Secret in the same namespace.
type TokenSecretRef struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key in the Secret's data.
	// +optional
	// +kubebuilder:default=token
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// TeamTalkReceiverStatus is what a receiver has received.
type TeamTalkReceiverStatus struct {
	// observedGeneration is the spec that the conditions speak of; -1: none yet.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// lastReceivedTime is when a caller was last taken seriously: known, and with a
	// body that could be read.
	// +optional
	LastReceivedTime *metav1.Time `json:"lastReceivedTime,omitempty"`

	// lastMessage is the name of the newest TeamTalkMessage made.
	// +optional
	LastMessage string `json:"lastMessage,omitempty"`

	// counts add up what was received. They are written every few seconds: what a
	// gateway had counted when it was killed is missing.
	// +optional
	Counts ReceiverCounts `json:"counts,omitzero"`

	// lastError is what went wrong last, with what known callers posted.
	// +optional
	LastError *ReceiverError `json:"lastError,omitempty"`
}

// ReceiverCounts add up what a receiver has received.
type ReceiverCounts struct {
	// received are the notifications.
	// +optional
	Received int64 `json:"received,omitempty"`
	// messages that were made of them.
	// +optional
	Messages int64 `json:"messages,omitempty"`
	// duplicates made no message: retries, and repeats within dedupWindowSeconds.
	// +optional
	Duplicates int64 `json:"duplicates,omitempty"`
	// folded were held back from a recipient at least, for its digest. Each is counted
	// when that is decided, also where the caller has to retry the request.
	// +optional
	Folded int64 `json:"folded,omitempty"`
	// templateFaults are messages made with the built-in template because the
	// declared one failed.
	// +optional
	TemplateFaults int64 `json:"templateFaults,omitempty"`
	// refused are requests of known callers answered with 4xx: not readable. Those of
	// unauthenticated requests are in metrics alone.
	// +optional
	Refused int64 `json:"refused,omitempty"`
	// failed are requests of known callers answered with 503, to try again.
	// +optional
	Failed int64 `json:"failed,omitempty"`
}

// ReceiverError is something that went wrong.
type ReceiverError struct {
	// time of it.
	// +required
	Time metav1.Time `json:"time,omitzero"`
	// message says what it was.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// TeamTalkReceiver takes what other systems post over HTTP, and makes messages of it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkreceivers,singular=teamtalkreceiver,shortName=ttr,categories=teamtalk
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Received",type=integer,JSONPath=`.status.counts.received`
// +kubebuilder:printcolumn:name="Messages",type=integer,JSONPath=`.status.counts.messages`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastReceivedTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Server",type=string,priority=1,JSONPath=`.spec.serverRef.name`
// +kubebuilder:printcolumn:name="Error",type=string,priority=1,JSONPath=`.status.lastError.message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="a receiver's name has at most 63 characters: its messages have it as a label"
type TeamTalkReceiver struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec says what is received, and what messages are made of it.
	// +required
	Spec TeamTalkReceiverSpec `json:"spec,omitzero"`

	// status is what was received.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status TeamTalkReceiverStatus `json:"status,omitzero"`
}

// TeamTalkReceiverList is a list of TeamTalkReceivers.
//
// +kubebuilder:object:root=true
type TeamTalkReceiverList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TeamTalkReceiver `json:"items"`
}
