// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Labels of the messages that a receiver creates.
const (
	// ReceiverLabel is the name of the TeamTalkReceiver that created a message.
	ReceiverLabel = "teamtalk.io/receiver"
	// NotificationLabel is the hash of the notification. Repeats have the same hash. Their names end with a number.
	NotificationLabel = "teamtalk.io/notification"
	// AlertGroupLabel and AlertKeyLabel are on messages that may be escalated. They are hashes of the group key, and of
	// the results of dedupKey for the alerts. A notification with one of these hashes resolves the alerts.
	AlertGroupLabel = "teamtalk.io/alert-group"
	AlertKeyLabel   = "teamtalk.io/alert-key"
)

// Reasons of a TeamTalkReceiver's Ready condition, in addition to Ready and ServerNotFound.
const (
	// ReasonTemplateInvalid: a template does not parse. The built-in template is used instead.
	ReasonTemplateInvalid = "TemplateInvalid"
	// ReasonSecretNotFound: the callers' Secret or one of its keys is missing or empty, or may not be read. Callers get
	// status 503. It is also the reason of Served if the gateway cannot read them.
	ReasonSecretNotFound = "SecretNotFound"
	// ReasonExpressionInvalid: filter, dedupKey or recipients does not compile. It is ignored.
	ReasonExpressionInvalid = "ExpressionInvalid"
)

// ConditionProcessed of a TeamTalkReceiver is True when templates and expressions were used as declared. It is False
// after one has failed for a notification. The notification is still sent: the condition's message says how. It is True
// again after a change of the receiver, or after an hour without an error. Gateways write it.
const ConditionProcessed = "Processed"

// Reasons of a TeamTalkReceiver's Processed condition.
const (
	// ReasonProcessed: templates and expressions were used as declared.
	ReasonProcessed = "Processed"
	// ReasonTemplateFailed: a template failed. The built-in template made the text.
	ReasonTemplateFailed = "TemplateFailed"
	// ReasonExpressionFailed: an expression failed. It was ignored for the notification.
	ReasonExpressionFailed = "ExpressionFailed"
)

// ConditionServed of a TeamTalkReceiver is True when a gateway has answered a request to it. It is False when a gateway
// got a request but cannot authenticate callers, and Unknown before the first request. Gateways write it; the operator
// writes Unknown. It remains True when the gateways stop.
const ConditionServed = "Served"

// Reasons of a TeamTalkReceiver's Served condition, in addition to SecretNotFound.
const (
	// ReasonServed: a gateway has answered a request to this generation of the receiver.
	ReasonServed = "Served"
	// ReasonNotServedYet: no gateway has answered a request. Either no request arrived, or no gateway may read the
	// receiver.
	ReasonNotServedYet = "NotServedYet"
)

// ReceiverType is the format of the notifications of a receiver.
//
// +kubebuilder:validation:Enum=Alertmanager;Grafana;Slack;DingTalk;WeCom;Feishu;Generic
type ReceiverType string

// Receiver types.
const (
	// ReceiverAlertmanager is Alertmanager's webhook, version 4.
	ReceiverAlertmanager ReceiverType = "Alertmanager"
	// ReceiverGrafana is the webhook of Grafana's alerting: Alertmanager's with values and links.
	ReceiverGrafana ReceiverType = "Grafana"
	// ReceiverSlack is the format of the incoming webhooks of Slack, Mattermost and Rocket.Chat.
	ReceiverSlack ReceiverType = "Slack"
	// ReceiverDingTalk is the format of DingTalk's custom robots.
	ReceiverDingTalk ReceiverType = "DingTalk"
	// ReceiverWeCom is the format of WeCom's group robots.
	ReceiverWeCom ReceiverType = "WeCom"
	// ReceiverFeishu is the format of the custom bots of Feishu and Lark.
	ReceiverFeishu ReceiverType = "Feishu"
	// ReceiverGeneric is any JSON.
	ReceiverGeneric ReceiverType = "Generic"
)

// Language is a language of the built-in texts.
//
// +kubebuilder:validation:Enum=en;zh-CN
type Language string

// Languages.
const (
	LanguageEnglish Language = "en"
	LanguageChinese Language = "zh-CN"
)

// TeamTalkReceiverSpec describes the notifications and the messages that are created for them.
//
// +kubebuilder:validation:XValidation:rule="(has(self.toLabel) || has(self.recipients)) == has(self.allow)",message="toLabel or recipients, and allow must be set together: allow lists the recipients that they may name"
// +kubebuilder:validation:XValidation:rule="!has(self.toLabel) || !has(self.recipients)",message="toLabel and recipients must not be set together: an expression reads labels too"
// +kubebuilder:validation:XValidation:rule="self.type in ['Alertmanager', 'Grafana'] || (!has(self.toLabel) && !has(self.groupBy) && !has(self.resolvedTemplate))",message="toLabel, groupBy and resolvedTemplate require type Alertmanager or Grafana"
// +kubebuilder:validation:XValidation:rule="!(self.type in ['DingTalk', 'Feishu']) || !has(self.authentication) || !has(self.authentication.hmacSecretRef) || !has(self.authentication.hmacSecretRef.encoding) || has(self.authentication.hmacSecretRef.header)",message="encoding requires header with this type: without a header, requests have the service's own sign, which is base64",fieldPath=".authentication.hmacSecretRef"
// +kubebuilder:validation:XValidation:rule="!has(self.senderID) || ((!has(self.to.users) || !(self.senderID in self.to.users)) && (!has(self.allow) || !has(self.allow.users) || !(self.senderID in self.allow.users)))",message="senderID must not be among to.users or allow.users: TeamTalk stores no message from a user to itself",fieldPath=".senderID"
// +kubebuilder:validation:XValidation:rule="!has(self.senderID) || !has(self.readPolicy) || !has(self.readPolicy.escalateTo) || !has(self.readPolicy.escalateTo.users) || !(self.senderID in self.readPolicy.escalateTo.users)",message="senderID must not be among escalateTo.users: TeamTalk stores no message from a user to itself",fieldPath=".readPolicy.escalateTo.users"
// +kubebuilder:validation:XValidation:rule="!has(self.readPolicy) || !has(self.readPolicy.escalateTo) || (has(self.to.users) ? self.to.users.size() : 0) + (has(self.to.groups) ? self.to.groups.size() : 0) + (has(self.to.userNames) ? self.to.userNames.size() : 0) + (has(self.to.groupNames) ? self.to.groupNames.size() : 0) + (has(self.readPolicy.escalateTo.users) ? self.readPolicy.escalateTo.users.size() : 0) + (has(self.readPolicy.escalateTo.groups) ? self.readPolicy.escalateTo.groups.size() : 0) + (has(self.readPolicy.escalateTo.userNames) ? self.readPolicy.escalateTo.userNames.size() : 0) + (has(self.readPolicy.escalateTo.groupNames) ? self.readPolicy.escalateTo.groupNames.size() : 0) <= 1000",message="at most 1000 recipients in to and escalateTo together",fieldPath=".readPolicy.escalateTo"
// +kubebuilder:validation:XValidation:rule="self.ttlSecondsAfterFinished >= self.dedupWindowSeconds",message="ttlSecondsAfterFinished must not be less than dedupWindowSeconds: the previous message identifies a repeat",fieldPath=".ttlSecondsAfterFinished"
type TeamTalkReceiverSpec struct {
	// type is the format of the notifications and of the responses. Alertmanager is its webhook, version 4. Grafana is its
	// webhook. Slack, DingTalk, WeCom and Feishu are the formats of their incoming webhooks. Generic is any JSON.
	// +required
	Type ReceiverType `json:"type,omitempty"`

	// serverRef refers to the TeamTalkServer that sends the messages. If unset, it is the server "default"
	// in the receiver's namespace.
	// +optional
	// +kubebuilder:default={name: default}
	ServerRef *ServerReference `json:"serverRef,omitempty"`

	// senderID is the TeamTalk user who sends the messages. If unset, it is senders.default of the server.
	// +optional
	SenderID *UserID `json:"senderID,omitempty"`

	// to lists the recipients. If toLabel or recipients is set, they get the alerts for which these name no allowed
	// recipient.
	// +required
	// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) + (has(self.groupNames) ? self.groupNames.size() : 0) > 0",message="name at least one recipient in users, userNames, groups or groupNames"
	// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) + (has(self.groupNames) ? self.groupNames.size() : 0) <= 1000",message="at most 1000 recipients in all"
	To NamedRecipients `json:"to,omitzero"`

	// toLabel is the alert label that lists recipients, separated by commas: user ids or login names, and "group:" with
	// group ids or names. Digits are an id.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^[a-zA-Z_][a-zA-Z0-9_]*$`
	ToLabel string `json:"toLabel,omitempty"`

	// allow lists the recipients that toLabel or recipients may name. Others are ignored. If none remains, the alert is
	// sent to the recipients in to. An id allows only the id, and a name only the name, because names are not looked up
	// before the message is sent.
	// +optional
	Allow *NamedRecipients `json:"allow,omitempty"`

	// recipients is a CEL expression for who gets an alert, or a body without alerts: a list of user(2), user("login"),
	// group(7) and group("name"), which allow must list. A text is a name.
	// Example: payload.labels.team == "db" ? [user("zhang.san")] : []
	// The variables are those of filter. If the list is empty or the expression fails, the recipients in to get it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`\S`
	Recipients string `json:"recipients,omitempty"`

	// filter is a CEL expression. If it is false for an alert, or for a body without alerts, that is not sent.
	// The variable payload is the alert or the body, and notification is the whole body.
	// Example: payload.status == "firing" && payload.labels.severity != "info"
	// If the expression fails, the alert is sent.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`\S`
	Filter string `json:"filter,omitempty"`

	// dedupKey is a CEL expression for a text that identifies an alert, or a body without alerts. Within
	// dedupWindowSeconds, notifications with the same keys are one. Example: payload.involvedObject.uid + payload.reason
	// An alert that is resolved is never a repeat of one that fires. The variables are those of filter.
	// If the text is empty or the expression fails, the notification is identified as without a key.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:Pattern=`\S`
	DedupKey string `json:"dedupKey,omitempty"`

	// groupBy lists labels. Alerts of a notification with the same values of these labels are sent in one message. If
	// unset, each notification is one message.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=128
	GroupBy []string `json:"groupBy,omitempty"`

	// template is the Go template of the text. If it is unset or fails, the built-in template is used.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	Template string `json:"template,omitempty"`

	// resolvedTemplate is the Go template for notifications whose alerts are all resolved. If unset,
	// template is used.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	ResolvedTemplate string `json:"resolvedTemplate,omitempty"`

	// language is the language of the built-in texts.
	// +optional
	// +kubebuilder:default=en
	Language Language `json:"language,omitempty"`

	// timeZone is the time zone in which templates show times, as a name of the IANA database, such as Asia/Shanghai.
	// If unset, it is UTC.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	TimeZone string `json:"timeZone,omitempty"`

	// authentication describes how callers are authenticated. If unset, callers need a Kubernetes token whose user may
	// create TeamTalkMessages in this namespace.
	// +optional
	Authentication *ReceiverAuthentication `json:"authentication,omitempty"`

	// dedupWindowSeconds is the time after a message in which the same notification creates no other message: it is a
	// retry, or another Alertmanager of the cluster sent it. Use a time that is longer than Alertmanager's retries and
	// shorter than its repeat_interval.
	// +optional
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=86400
	DedupWindowSeconds int32 `json:"dedupWindowSeconds,omitempty"`

	// readPolicy is the readPolicy of the messages: who must read them, by when, and who gets them otherwise. Messages
	// whose alerts are all resolved are not escalated. A message is not escalated either if a notification with the same
	// group key or dedupKey resolves its alerts before the deadline. Digests have the same readPolicy. No notification
	// resolves a digest.
	// +optional
	ReadPolicy *ReceiverReadPolicy `json:"readPolicy,omitempty"`

	// floodControl limits the number of messages that a recipient gets. If unset, there is no limit.
	// +optional
	FloodControl *FloodControl `json:"floodControl,omitempty"`

	// ttlSecondsAfterFinished limits the lifetime of messages that have finished. It counts from when their readPolicy is
	// not due any more and their escalation has ended.
	// +optional
	// +kubebuilder:default=604800
	// +kubebuilder:validation:Minimum=10
	TTLSecondsAfterFinished int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// ReceiverReadPolicy describes who must read the messages of a receiver, and by when.
type ReceiverReadPolicy struct {
	// quorum is the number of recipients that must read a message, out of those to which it was routed. If they are fewer,
	// or if unset, all of them must.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Quorum *int32 `json:"quorum,omitempty"`

	// deadlineSeconds limits the time after the delivery in which a message must be read.
	// +optional
	// +kubebuilder:default=86400
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	DeadlineSeconds *int32 `json:"deadlineSeconds,omitempty"`

	// escalateTo lists recipients who get a message too, below a first line that says why. It is escalated if too few
	// recipients have read it when the deadline passes, or if it was routed to fewer than must read it. Neither toLabel
	// nor recipients changes them.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) + (has(self.groupNames) ? self.groupNames.size() : 0) > 0",message="name at least one recipient in users, userNames, groups or groupNames"
	EscalateTo *NamedRecipients `json:"escalateTo,omitempty"`
}

// FloodControl limits the messages per recipient. A digest at the end of the window replaces messages over the limit.
type FloodControl struct {
	// messages is the highest number of messages that a recipient gets in a window.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Messages int32 `json:"messages,omitempty"`

	// windowSeconds is the length of a window.
	// +optional
	// +kubebuilder:default=60
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=3600
	WindowSeconds int32 `json:"windowSeconds,omitempty"`
}

// TeamTalkReceiverStatus is the observed state of a receiver.
type TeamTalkReceiverStatus struct {
	// observedGeneration is the generation that the conditions are about. It is -1 before the first one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// path is the path of the URL that callers post to, without a token.
	// +optional
	Path string `json:"path,omitempty"`

	// conditions holds Ready, Stalled, Processed and Served.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// lastReceivedTime is the time when an authenticated caller last posted a valid notification.
	// +optional
	LastReceivedTime *metav1.Time `json:"lastReceivedTime,omitempty"`

	// lastMessage is the name of the newest TeamTalkMessage of the receiver.
	// +optional
	LastMessage string `json:"lastMessage,omitempty"`

	// counts holds the numbers of requests by result. It is updated every few seconds. If a gateway is killed, its last
	// counts are lost.
	// +optional
	Counts ReceiverCounts `json:"counts,omitzero"`

	// lastError is the last error of a request of an authenticated caller.
	// +optional
	LastError *ReceiverError `json:"lastError,omitempty"`
}

// ReceiverCounts counts the requests to a receiver.
type ReceiverCounts struct {
	// received is the number of notifications.
	// +optional
	Received int64 `json:"received,omitempty"`
	// messages is the number of messages that were created.
	// +optional
	Messages int64 `json:"messages,omitempty"`
	// duplicates is the number of notifications that repeated another one within dedupWindowSeconds.
	// +optional
	Duplicates int64 `json:"duplicates,omitempty"`
	// suppressed is the number of notifications that are in the digest of at least one recipient. A retried
	// request may be counted twice.
	// +optional
	Suppressed int64 `json:"suppressed,omitempty"`
	// filtered is the number of alerts, and of bodies without alerts, that filter dropped.
	// +optional
	Filtered int64 `json:"filtered,omitempty"`
	// expressionFaults is the number of alerts, and of bodies without alerts, for which an expression failed.
	// +optional
	ExpressionFaults int64 `json:"expressionFaults,omitempty"`
	// templateFaults is the number of messages that use the built-in template because the declared one failed.
	// +optional
	TemplateFaults int64 `json:"templateFaults,omitempty"`
	// refused is the number of requests of authenticated callers that got a 4xx status.
	// +optional
	Refused int64 `json:"refused,omitempty"`
	// failed is the number of requests of authenticated callers that got a 503 status.
	// +optional
	Failed int64 `json:"failed,omitempty"`
}

// ReceiverError is an error of a request.
type ReceiverError struct {
	// time is the time when the error occurred.
	// +required
	Time metav1.Time `json:"time,omitzero"`
	// message describes the error.
	// +required
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message,omitempty"`
}

// TeamTalkReceiver accepts notifications of other systems over HTTP and creates TeamTalkMessages.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkreceivers,singular=teamtalkreceiver,shortName=ttr,categories=teamtalk
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.type`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Served",type=string,JSONPath=`.status.conditions[?(@.type=="Served")].status`
// +kubebuilder:printcolumn:name="Messages",type=integer,JSONPath=`.status.counts.messages`
// +kubebuilder:printcolumn:name="Last",type=date,JSONPath=`.status.lastReceivedTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Processed",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Processed")].status`
// +kubebuilder:printcolumn:name="Received",type=integer,priority=1,JSONPath=`.status.counts.received`
// +kubebuilder:printcolumn:name="Server",type=string,priority=1,JSONPath=`.spec.serverRef.name`
// +kubebuilder:printcolumn:name="Path",type=string,priority=1,JSONPath=`.status.path`
// +kubebuilder:printcolumn:name="Error",type=string,priority=1,JSONPath=`.status.lastError.message`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="a receiver's name has at most 63 characters: it is a label of its messages",fieldPath=".metadata"
type TeamTalkReceiver struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec describes the notifications and the messages.
	// +required
	Spec TeamTalkReceiverSpec `json:"spec,omitzero"`

	// status is the observed state of the receiver.
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
