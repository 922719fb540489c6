// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Conditions of a TeamTalkMessage. They follow kstatus, as do Argo CD, Flux and `kubectl wait`.
const (
	// ConditionReady of a TeamTalkMessage is True when the message is as declared: delivered, or
	// waiting on purpose (Scheduled, Suspended). It is False while sending and after a failure.
	// ConditionReady of a TeamTalkServer is True when messages can be delivered.
	// ConditionReady of a TeamTalkReceiver is True when its server, Secret, templates and expressions are valid.
	// ConditionReady of a TeamTalkSchedule is True when messages are created at their times, or it is suspended.
	// ConditionReady of a TeamTalkGroup is True when the group has the declared members.
	ConditionReady = "Ready"
	// ConditionReconciling is present, with status True, only while the operator is working on the resource.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present, with status True, only after a message has failed for a recipient. On a
	// TeamTalkReceiver, TeamTalkSchedule or TeamTalkGroup it is present while retries do not help: edit the resource or
	// its server.
	ConditionStalled = "Stalled"
	// ConditionDelivered is True when every recipient is Routed, or Stored with the reason StoredNotRouted.
	ConditionDelivered = "Delivered"
	// ConditionFinished is True when the operator will not retry, whatever the outcome. Wait for this condition.
	ConditionFinished = "Finished"
	// ConditionRead is True when every recipient to which the message was routed has read it, or the quorum of its
	// readPolicy has. It is set after Finished. Without a readPolicy it is present only while True.
	ConditionRead = "Read"
	// ConditionEscalated is True when every recipient in readPolicy.escalateTo has the message. It is set when the read
	// deadline passes and too few recipients have read the message, or when it was routed to fewer than must read it. Its
	// reasons are those of Ready.
	ConditionEscalated = "Escalated"
)

// Conditions of a TeamTalkServer, in addition to Ready.
const (
	// ConditionKeyLoaded is True when the Secret holds a valid AES key.
	ConditionKeyLoaded = "KeyLoaded"
	// ConditionDBProxyConnected is True when a connection to db_proxy is up.
	ConditionDBProxyConnected = "DBProxyConnected"
	// ConditionRouterConnected is True when a connection to a router is up.
	ConditionRouterConnected = "RouterConnected"
)

// Reasons of a TeamTalkServer's conditions, in addition to KeyNotFound and KeyInvalid.
const (
	// ReasonReady: the key is loaded, db_proxy and a router are connected. On other resources: Ready is True.
	ReasonReady = "Ready"
	// ReasonKeyLoaded: the Secret holds a valid key.
	ReasonKeyLoaded = "KeyLoaded"
	// ReasonConnected: at least one connection is up.
	ReasonConnected = "Connected"
	// ReasonConnecting: no connection is up; the operator retries with backoff.
	ReasonConnecting = "Connecting"
	// ReasonConnectionLimit: the servers of the namespace have as many connections as the operator permits a namespace.
	ReasonConnectionLimit = "ConnectionLimit"
)

// Reasons of a message in progress.
const (
	// ReasonSending: the message is being sent.
	ReasonSending = "Sending"
	// ReasonRetryScheduled: sending to a recipient failed and will be retried.
	ReasonRetryScheduled = "RetryScheduled"
	// ReasonScheduled: sendAfter is in the future.
	ReasonScheduled = "Scheduled"
	// ReasonSuspended: spec.suspend is true.
	ReasonSuspended = "Suspended"
)

// Reasons of a finished message.
const (
	// ReasonDelivered: every recipient has the message.
	ReasonDelivered = "Delivered"
	// ReasonPartiallyDelivered: some recipients have the message, others failed.
	ReasonPartiallyDelivered = "PartiallyDelivered"
	// ReasonRetriesExhausted: retryLimit is reached. It is proved that the message is not stored.
	ReasonRetriesExhausted = "RetriesExhausted"
	// ReasonDeadlineExceeded: the deadline has passed. It is proved that the message is not stored.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonStatusTooLarge: the message is so large that the status might not hold the outcome of all recipients. It was
	// not sent, and the status does not list the recipients.
	ReasonStatusTooLarge = "StatusTooLarge"
	// ReasonKeyReused: the store holds another text with the same idempotencyKey. Nothing was sent.
	ReasonKeyReused = "KeyReused"
	// ReasonOutcomeUnknown: the message may have been delivered. The store cannot prove whether it was. It is not retried.
	// On a TeamTalkGroup: the group may have been created in another TeamTalk installation.
	ReasonOutcomeUnknown = "OutcomeUnknown"
	// ReasonStoredNotRouted: the message is stored, but no router accepted it in time. Clients show it at their next
	// synchronization.
	ReasonStoredNotRouted = "StoredNotRouted"
	// ReasonSuperseded: the message was edited with onChange: Resend before it was sent to the recipient. Nothing was
	// stored.
	ReasonSuperseded = "Superseded"
	// ReasonAdopted: the store already held the message with its delivery token. It was not sent again.
	ReasonAdopted = "Adopted"
)

// Reasons of the condition Read, in addition to ReasonSuspended: the deadline of the readPolicy has passed, but the
// message is not escalated while it is suspended, and can still be read.
const (
	// ReasonRead: every recipient to which the message was routed, or the quorum, has read it.
	ReasonRead = "Read"
	// ReasonUnread: too few recipients have read the message, and its read deadline has not passed.
	ReasonUnread = "Unread"
	// ReasonReadsMissed: some recipients may have read the message while the operator was not connected to all routers.
	// The condition is Unknown until they read again or the deadline passes.
	ReasonReadsMissed = "ReadsMissed"
	// ReasonReadDeadlineExceeded: the deadline of the readPolicy has passed, and the operator saw too few recipients read
	// the message. It is also the reason of an event.
	ReasonReadDeadlineExceeded = "ReadDeadlineExceeded"
	// ReasonNotRouted: the message was routed to fewer recipients than the readPolicy needs.
	ReasonNotRouted = "NotRouted"
)

// ReasonAlertResolved is a reason of the condition Escalated, in addition to those of Ready. The alerts of the message
// were resolved before it was escalated. It is not sent to the recipients in escalateTo.
const ReasonAlertResolved = "AlertResolved"

// ReasonEscalated is the reason of an event: the message was not read, and is sent to the recipients in
// readPolicy.escalateTo.
const ReasonEscalated = "Escalated"

// ReasonRecreatedByGitOps is the reason of an event: the message has a ttlSecondsAfterFinished, and a GitOps tool
// creates it again after each deletion.
const ReasonRecreatedByGitOps = "RecreatedByGitOps"

// Reasons about the server, its permissions and its key.
const (
	// ReasonServerNotFound: the server does not exist, or does not allow this namespace. Both cases have the same reason,
	// so that it reveals nothing about other namespaces.
	ReasonServerNotFound = "ServerNotFound"
	// ReasonServerNotReady: db_proxy is not connected, or no router is connected for a message that is stored.
	ReasonServerNotReady = "ServerNotReady"
	// ReasonManagedByAnother: an operator with another Lease sends messages through the server. See status.managedBy.
	ReasonManagedByAnother = "ManagedByAnother"
	// ReasonEndpointNotPermitted: the administrator of the operator does not allow the server's namespace to connect to
	// one of its endpoints.
	ReasonEndpointNotPermitted = "EndpointNotPermitted"
	// ReasonSenderNotPermitted: the server does not allow messages from this sender.
	ReasonSenderNotPermitted = "SenderNotPermitted"
	// ReasonRecipientNotPermitted: the server's rules exclude this recipient.
	ReasonRecipientNotPermitted = "RecipientNotPermitted"
	// ReasonKeyNotFound: the Secret, or the key in it, does not exist or may not be read.
	ReasonKeyNotFound = "KeyNotFound"
	// ReasonKeyInvalid: the AES key is not 32 bytes long.
	ReasonKeyInvalid = "KeyInvalid"
)

// Reasons from TeamTalk's directory of users and groups.
const (
	// ReasonSenderNotFound: the sender does not exist. Mobile clients would hide the message.
	ReasonSenderNotFound = "SenderNotFound"
	// ReasonRecipientNotFound: the user does not exist. TeamTalk would store a message that nobody reads. Users who have
	// left TeamTalk are not found by their name. On a TeamTalkGroup: no user has a listed name.
	ReasonRecipientNotFound = "RecipientNotFound"
	// ReasonRecipientAmbiguous: several users, or several groups of the sender, have the name that a message or a
	// TeamTalkGroup lists.
	ReasonRecipientAmbiguous = "RecipientAmbiguous"
	// ReasonRecipientDeparted: the user has left TeamTalk. TeamTalk would store a message that nobody reads.
	ReasonRecipientDeparted = "RecipientDeparted"
	// ReasonGroupNotFound: the group does not exist, or the TeamTalkGroup belongs to another server. TeamTalk would not
	// answer.
	ReasonGroupNotFound = "GroupNotFound"
	// ReasonGroupNotReady: the TeamTalkGroup does not exist, or is not Ready.
	ReasonGroupNotReady = "GroupNotReady"
	// ReasonSenderNotInGroup: the sender is not a member of the group. TeamTalk would not answer.
	ReasonSenderNotInGroup = "SenderNotInGroup"
	// ReasonGroupNotAdoptable: the group does not exist, another resource manages it, or it belongs to another user, and
	// the server does not list it as adoptable.
	ReasonGroupNotAdoptable = "GroupNotAdoptable"
	// ReasonSendToSelf: sender and recipient are the same user.
	ReasonSendToSelf = "SendToSelf"
)

// Reasons about the content.
const (
	// ReasonContentEmpty: the text is empty, or the audio holds no sound.
	ReasonContentEmpty = "ContentEmpty"
	// ReasonContentTooLong: the content is longer than TeamTalk's column. TeamTalk would report success
	// and store nothing.
	ReasonContentTooLong = "ContentTooLong"
	// ReasonContentInvalid: the text is not UTF-8, or contains a NUL, at which clients truncate it. Or the message has an
	// idempotencyKey, and the server disables delivery tokens.
	ReasonContentInvalid = "ContentInvalid"
	// ReasonContentNotFound: the ConfigMap, or the key in it, does not exist or may not be read.
	ReasonContentNotFound = "ContentNotFound"
	// ReasonContentChanged: the text in the ConfigMap has changed after its first segments were sent.
	ReasonContentChanged = "ContentChanged"
)

// Reasons of one failed attempt. Attempts are retried until retryLimit is reached.
const (
	// ReasonStoreRejected: db_proxy answered with id 0. Nothing was stored.
	ReasonStoreRejected = "StoreRejected"
	// ReasonNotStored: db_proxy answered with an id, but it is proved that nothing was stored.
	ReasonNotStored = "NotStored"
	// ReasonNoAnswer: there was no conclusive answer. The message may have been stored.
	ReasonNoAnswer = "NoAnswer"
)

// Cause is the reason why something waits or has failed. It is not part of the API.
//
// +kubebuilder:object:generate=false
type Cause struct {
	// Reason is one of the reasons in this package.
	Reason string
	// Message describes what to do.
	Message string
}

// ReadyEvent returns the condition Ready, and the type of the event about its change. The type is empty if no event is
// due.
func ReadyEvent(before, after []metav1.Condition) (eventType string, ready *metav1.Condition) {
	was := meta.FindStatusCondition(before, ConditionReady)
	ready = meta.FindStatusCondition(after, ConditionReady)
	switch {
	case ready == nil, was != nil && was.Status == ready.Status && was.Reason == ready.Reason:
		return "", ready
	case ready.Status == metav1.ConditionTrue:
		return "Normal", ready
	case was == nil && ready.Reason == ReasonConnecting:
		return "", ready // a new server is always connecting at first
	}
	return "Warning", ready
}
