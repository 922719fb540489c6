package v1alpha1

// Conditions of a TeamTalkMessage. Each has an observedGeneration.
const (
	// ConditionReady is True when the message is as declared: delivered, or waiting because
	// of its spec (Scheduled, Suspended). It is False during the delivery and after a failure.
	// Ready of a TeamTalkServer is True when messages can be delivered, Ready of a
	// TeamTalkReceiver when its server, Secret and templates can be used.
	ConditionReady = "Ready"
	// ConditionReconciling is present, and True, only during the delivery.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present, and True, only after a terminal failure.
	ConditionStalled = "Stalled"
	// ConditionDelivered is True when every recipient is Routed; or Stored with reason
	// StoredNotRouted, where no router took the message in time.
	ConditionDelivered = "Delivered"
	// ConditionFinished is True when nothing more is tried, after success and failure.
	// Wait for this condition.
	ConditionFinished = "Finished"
)

// Conditions of a TeamTalkServer, beside Ready.
const (
	// ConditionKeyLoaded is True when the Secret holds a usable AES key.
	ConditionKeyLoaded = "KeyLoaded"
	// ConditionDBProxyConnected is True when a connection to db_proxy is up.
	ConditionDBProxyConnected = "DBProxyConnected"
	// ConditionRouterConnected is True when a connection to a router is up.
	ConditionRouterConnected = "RouterConnected"
)

// Reasons of a TeamTalkServer's conditions, beside KeyNotFound and KeyInvalid.
const (
	// ReasonReady: the key is loaded, and db_proxy and a router are connected.
	ReasonReady = "Ready"
	// ReasonKeyLoaded: the Secret holds a usable key.
	ReasonKeyLoaded = "KeyLoaded"
	// ReasonConnected: at least one connection is up.
	ReasonConnected = "Connected"
	// ReasonConnecting: no connection is up. The operator retries with backoff.
	ReasonConnecting = "Connecting"
)

// Reasons of a TeamTalkMessage that has not finished.
const (
	// ReasonSending: the message is being sent.
	ReasonSending = "Sending"
	// ReasonRetryScheduled: a transient failure of a recipient is retried.
	ReasonRetryScheduled = "RetryScheduled"
	// ReasonScheduled: the time of sendAfter has not come yet.
	ReasonScheduled = "Scheduled"
	// ReasonSuspended: suspend is true.
	ReasonSuspended = "Suspended"
)

// Reasons of a TeamTalkMessage that has finished.
const (
	// ReasonDelivered: every recipient has it.
	ReasonDelivered = "Delivered"
	// ReasonPartiallyDelivered: some recipients have it, others failed.
	ReasonPartiallyDelivered = "PartiallyDelivered"
	// ReasonRetriesExhausted: retryLimit was reached, and the message is proved not stored.
	ReasonRetriesExhausted = "RetriesExhausted"
	// ReasonDeadlineExceeded: the deadline came, and the message is proved not stored.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonKeyReused: the store holds another text under its idempotencyKey. Nothing was
	// sent.
	ReasonKeyReused = "KeyReused"
	// ReasonOutcomeUnknown: the message may have been delivered, which cannot be proved. It
	// is not retried.
	ReasonOutcomeUnknown = "OutcomeUnknown"
	// ReasonStoredNotRouted: the message is stored, but no router took it in time. Clients
	// see it at their next sync.
	ReasonStoredNotRouted = "StoredNotRouted"
	// ReasonAdopted: the message was found in the store under its delivery token, and not
	// sent again.
	ReasonAdopted = "Adopted"
)

// Reasons about the server, its permissions and its key.
const (
	// ReasonServerNotFound: there is no such server, or this namespace may not use it. Users
	// are not told which.
	ReasonServerNotFound = "ServerNotFound"
	// ReasonServerNotReady: db_proxy is not connected.
	ReasonServerNotReady = "ServerNotReady"
	// ReasonSenderNotPermitted: the server does not let messages speak as this user.
	ReasonSenderNotPermitted = "SenderNotPermitted"
	// ReasonRecipientNotPermitted: the server's recipients rules exclude the recipient.
	ReasonRecipientNotPermitted = "RecipientNotPermitted"
	// ReasonKeyNotFound: the Secret, or the key in it, does not exist.
	ReasonKeyNotFound = "KeyNotFound"
	// ReasonKeyInvalid: the key is not 32 bytes long.
	ReasonKeyInvalid = "KeyInvalid"
)

// Reasons from TeamTalk's directory.
const (
	// ReasonSenderNotFound: the sender does not exist. Mobile clients would hide the message.
	ReasonSenderNotFound = "SenderNotFound"
	// ReasonRecipientNotFound: the user does not exist. TeamTalk would store the
	// message for no one.
	ReasonRecipientNotFound = "RecipientNotFound"
	// ReasonGroupNotFound: the group does not exist. TeamTalk would not answer.
	ReasonGroupNotFound = "GroupNotFound"
	// ReasonSenderNotInGroup: the sender is not a member. TeamTalk would not answer.
	ReasonSenderNotInGroup = "SenderNotInGroup"
	// ReasonSendToSelf: sender and recipient are the same user.
	ReasonSendToSelf = "SendToSelf"
)

// Reasons about the content.
const (
	// ReasonContentEmpty: the text is empty, or the audio holds no sound.
	ReasonContentEmpty = "ContentEmpty"
	// ReasonContentTooLong: longer than TeamTalk's content column. TeamTalk would report
	// success and store nothing.
	ReasonContentTooLong = "ContentTooLong"
	// ReasonContentInvalid: not UTF-8, or with a NUL byte, where clients would cut it.
	ReasonContentInvalid = "ContentInvalid"
	// ReasonContentNotFound: the ConfigMap, or the key in it, does not exist.
	ReasonContentNotFound = "ContentNotFound"
	// ReasonContentChanged: the ConfigMap holds another text than the one whose first
	// parts were sent.
	ReasonContentChanged = "ContentChanged"
)

// Reasons of one attempt. Each is retried until retryLimit is reached.
const (
	// ReasonStoreRejected: the answer has id 0. Nothing was stored.
	ReasonStoreRejected = "StoreRejected"
	// ReasonNotStored: the answer has an id, and the message is proved absent from the store.
	ReasonNotStored = "NotStored"
	// ReasonNoAnswer: there was no answer, or none that proves anything. The message may have
	// been stored.
	ReasonNoAnswer = "NoAnswer"
)
