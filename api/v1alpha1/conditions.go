package v1alpha1

// Conditions of a TeamTalkMessage. Each has observedGeneration; kstatus,
// Argo CD, Flux and `kubectl wait` read them alike.
const (
	// ConditionReady is True once the message is as declared: delivered, or waiting
	// on purpose (Scheduled, Suspended). It is False while sending and after failure. On a TeamTalkServer: messages can be delivered.
	ConditionReady = "Ready"
	// ConditionReconciling is present, and True, only while work goes on.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is present, and True, only after failing for good.
	ConditionStalled = "Stalled"
	// ConditionDelivered is True when every recipient is Routed (or Stored, with
	// reason StoredNotRouted, where no router took the message in time).
	ConditionDelivered = "Delivered"
	// ConditionFinished is True when nothing more will be tried, whichever way
	// it ended: the one to wait on.
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
	// ReasonReady: the key is loaded, db_proxy and a router are connected.
	ReasonReady = "Ready"
	// ReasonKeyLoaded: the Secret holds a usable key.
	ReasonKeyLoaded = "KeyLoaded"
	// ReasonConnected: every declared connection is up, or enough of them to work.
	ReasonConnected = "Connected"
	// ReasonConnecting: no connection is up; it is being tried, with backoff.
	ReasonConnecting = "Connecting"
)

// Reasons while a message is under way.
const (
	// ReasonSending: the message is being sent.
	ReasonSending = "Sending"
	// ReasonRetryScheduled: a recipient failed for now and is tried again.
	ReasonRetryScheduled = "RetryScheduled"
	// ReasonScheduled: sendAfter has not come yet.
	ReasonScheduled = "Scheduled"
	// ReasonSuspended: suspend keeps it from being sent.
	ReasonSuspended = "Suspended"
)

// Reasons of a message's end.
const (
	// ReasonDelivered: every recipient has it.
	ReasonDelivered = "Delivered"
	// ReasonPartiallyDelivered: some recipients have it, others failed.
	ReasonPartiallyDelivered = "PartiallyDelivered"
	// ReasonRetriesExhausted: tried retryLimit times more; proved not stored.
	ReasonRetriesExhausted = "RetriesExhausted"
	// ReasonDeadlineExceeded: the deadline came first; proved not stored.
	ReasonDeadlineExceeded = "DeadlineExceeded"
	// ReasonKeyReused: its idempotencyKey is found in the store with another text;
	// nothing was sent.
	ReasonKeyReused = "KeyReused"
	// ReasonOutcomeUnknown: may have been delivered, cannot be proved, not tried again.
	ReasonOutcomeUnknown = "OutcomeUnknown"
	// ReasonStoredNotRouted: stored, but no router took it in time; clients see
	// it at their next sync.
	ReasonStoredNotRouted = "StoredNotRouted"
	// ReasonAdopted: found in the store under its delivery token, not sent again.
	ReasonAdopted = "Adopted"
)

// Reasons that concern the server, its permissions and its key.
const (
	// ReasonServerNotFound: no such server, or this namespace may not use it;
	// which of the two is never revealed.
	ReasonServerNotFound = "ServerNotFound"
	// ReasonServerNotReady: db_proxy is not connected.
	ReasonServerNotReady = "ServerNotReady"
	// ReasonSenderNotPermitted: the server does not let messages speak as this user.
	ReasonSenderNotPermitted = "SenderNotPermitted"
	// ReasonRecipientNotPermitted: the server's recipients rules exclude it.
	ReasonRecipientNotPermitted = "RecipientNotPermitted"
	// ReasonKeyNotFound: the Secret, or the key in it, does not exist.
	ReasonKeyNotFound = "KeyNotFound"
	// ReasonKeyInvalid: the key is not 32 bytes long.
	ReasonKeyInvalid = "KeyInvalid"
)

// Reasons that TeamTalk's directory gives.
const (
	// ReasonSenderNotFound: TeamTalk has no such sender; mobile clients would hide the message.
	ReasonSenderNotFound = "SenderNotFound"
	// ReasonRecipientNotFound: TeamTalk has no such user; it would store the message for nobody.
	ReasonRecipientNotFound = "RecipientNotFound"
	// ReasonGroupNotFound: TeamTalk has no such group; it would not answer.
	ReasonGroupNotFound = "GroupNotFound"
	// ReasonSenderNotInGroup: the sender is no member of the group; TeamTalk would not answer.
	ReasonSenderNotInGroup = "SenderNotInGroup"
	// ReasonSendToSelf: sender and recipient are the same user.
	ReasonSendToSelf = "SendToSelf"
)

// Reasons that concern the content.
const (
	// ReasonContentEmpty: the text is empty, or the audio holds no sound.
	ReasonContentEmpty = "ContentEmpty"
	// ReasonContentTooLong: longer than TeamTalk's content column holds; it
	// would report success and store nothing.
	ReasonContentTooLong = "ContentTooLong"
	// ReasonContentInvalid: not UTF-8, or a NUL inside, where clients would cut it.
	ReasonContentInvalid = "ContentInvalid"
	// ReasonContentNotFound: the ConfigMap, or the key in it, does not exist.
	ReasonContentNotFound = "ContentNotFound"
	// ReasonContentChanged: the ConfigMap holds another text than the one whose first
	// parts were sent.
	ReasonContentChanged = "ContentChanged"
)

// Reasons of one attempt. Each is tried again until retries are exhausted.
const (
	// ReasonStoreRejected: answered with id 0; nothing was stored.
	ReasonStoreRejected = "StoreRejected"
	// ReasonNotStored: answered with an id, proved absent from the store.
	ReasonNotStored = "NotStored"
	// ReasonNoAnswer: no answer, or none that proves anything: it may have been stored.
	ReasonNoAnswer = "NoAnswer"
)
