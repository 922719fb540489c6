// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// PreviousKeySuffix is the suffix of the previous AES key's name in the Secret. That key decrypts messages that were
	// stored with it. Older keys have ".2", ".3" and so on after the suffix.
	PreviousKeySuffix = ".previous"
	// MaxPreviousKeys is the highest number of previous keys that are read. Their numbers must have no gap.
	MaxPreviousKeys = 20
)

// Endpoint is host:port. The host is resolved for each connection.
//
// +kubebuilder:validation:MinLength=3
// +kubebuilder:validation:MaxLength=260
// +kubebuilder:validation:Pattern=`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}$`
type Endpoint string

// UserID is a TeamTalk user id.
//
// +kubebuilder:validation:Minimum=1
// +kubebuilder:validation:Maximum=2147483647
type UserID int64

// GroupID is a TeamTalk group id.
//
// +kubebuilder:validation:Minimum=1
// +kubebuilder:validation:Maximum=2147483647
type GroupID int64

// Verification tells whether messages are read back from the store.
//
// +kubebuilder:validation:Enum=Always;Never
type Verification string

// Verification modes.
const (
	// VerificationAlways reads each message back. db_proxy also answers with an id for some messages that it does not
	// store.
	VerificationAlways Verification = "Always"
	// VerificationNever trusts the answer of db_proxy.
	VerificationNever Verification = "Never"
)

// DeliveryTokenMode tells whether texts carry a delivery token.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type DeliveryTokenMode string

// Delivery token modes.
const (
	// DeliveryTokenEnabled adds 64 bits to the padding, which clients skip.
	DeliveryTokenEnabled DeliveryTokenMode = "Enabled"
	// DeliveryTokenDisabled sends texts without a token. They may be 17 bytes longer. The time of a
	// message is recorded in its status before it is sent.
	DeliveryTokenDisabled DeliveryTokenMode = "Disabled"
)

// FromNamespaces tells which namespaces may use a server, as in the Gateway API.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type FromNamespaces string

// Values of FromNamespaces.
const (
	FromSame     FromNamespaces = "Same"
	FromAll      FromNamespaces = "All"
	FromSelector FromNamespaces = "Selector"
)

// TeamTalkServerSpec describes a TeamTalk installation.
//
// +kubebuilder:validation:XValidation:rule="self.senders.default == oldSelf.senders.default",message="senders.default is immutable: messages without a senderID speak as it; add another TeamTalkServer, or set senderID on messages",fieldPath=".senders"
type TeamTalkServerSpec struct {
	// dbProxy describes the db_proxy servers, which store messages.
	// +required
	DBProxy DBProxySpec `json:"dbProxy,omitzero"`

	// router describes the routers, which announce stored messages to connected clients.
	// +required
	Router RouterSpec `json:"router,omitzero"`

	// aesKeySecretRef selects the AES-256 key that all TeamTalk clients share: exactly 32 bytes in a
	// Secret of this namespace. Optional keys with the suffixes ".previous", ".previous.2", ".previous.3" and so
	// on, up to 20, decrypt older messages.
	// +required
	AESKeySecretRef SecretKeyRef `json:"aesKeySecretRef,omitzero"`

	// senders lists the users who may send messages.
	// +required
	Senders SendersSpec `json:"senders,omitzero"`

	// allowedNamespaces selects the namespaces whose messages may use this server. If unset, only the
	// server's namespace may use it.
	// +optional
	// +kubebuilder:default={from: Same}
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitzero"`

	// recipients restricts the recipients of messages. If unset, all recipients are allowed.
	// +optional
	Recipients *RecipientRules `json:"recipients,omitempty"`

	// groups lists groups of other creators that may be managed through this server. If unset, none may be managed.
	// +optional
	Groups GroupsSpec `json:"groups,omitzero"`

	// rateLimit limits the rate of messages. If unset, there is no limit.
	// +optional
	RateLimit RateLimit `json:"rateLimit,omitzero"`

	// verification tells whether each message is read back from the store.
	// +optional
	// +kubebuilder:default=Always
	Verification Verification `json:"verification,omitempty"`

	// deliveryToken tells whether texts carry a token, by which the operator finds a message in the store.
	// +optional
	// +kubebuilder:default=Enabled
	DeliveryToken DeliveryTokenMode `json:"deliveryToken,omitempty"`

	// settleSeconds is the longest time for which db_proxy may still execute a request after its connection has ended.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	SettleSeconds int32 `json:"settleSeconds,omitempty"`

	// maxReplicaLagSeconds is the longest replication lag of the read replicas that db_proxy reads from.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	MaxReplicaLagSeconds *int32 `json:"maxReplicaLagSeconds,omitempty"`

	// idempotencyWindowSeconds is the minimum time for which an idempotencyKey, or a name and text, identifies a message.
	// The store is searched to the beginning of the conversation. A search ends after about 65,000 messages, 32 MiB or 5
	// seconds: about 8,000 messages of the longest texts, or 50 with audio. If it ends before it has searched this window,
	// the message fails with the reason OutcomeUnknown. A message that is older than the window and the search may be sent
	// again.
	// +optional
	// +kubebuilder:default=2592000
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=31536000
	IdempotencyWindowSeconds int32 `json:"idempotencyWindowSeconds,omitempty"`
}

// RateLimit is a token bucket. Each segment of a text that is split counts as a message.
//
// +kubebuilder:validation:XValidation:rule="!has(self.burst) || self.burst == 0 || (has(self.messagesPerSecond) && self.messagesPerSecond > 0)",message="burst requires messagesPerSecond"
type RateLimit struct {
	// messagesPerSecond is the average rate. 0 means no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MessagesPerSecond int32 `json:"messagesPerSecond,omitempty"`

	// burst is the number of messages that may be sent at once after a pause. 0 means messagesPerSecond.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Burst int32 `json:"burst,omitempty"`
}

// DBProxySpec describes the db_proxy servers and limits the requests to them.
//
// +kubebuilder:validation:XValidation:rule="self.maxGroupInFlight <= self.maxInFlight",message="maxGroupInFlight must not exceed maxInFlight"
type DBProxySpec struct {
	// endpoints lists host:port of db_proxy servers with the same database.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Endpoints []Endpoint `json:"endpoints,omitempty"`

	// connections is the number of connections per endpoint.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	Connections int32 `json:"connections,omitempty"`

	// maxInFlight limits the concurrent requests of this server to each db_proxy. The operator's flag
	// --db-proxy-max-in-flight limits those of all TeamTalkServers together.
	// +optional
	// +kubebuilder:default=64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxInFlight int32 `json:"maxInFlight,omitempty"`

	// maxGroupInFlight limits the concurrent requests of this server about groups. The operator's flag
	// --db-proxy-max-group-in-flight limits those of all TeamTalkServers together. In a stock db_proxy, concurrent group
	// messages can block a thread until it is restarted, and 32 at once deadlock it. Raise the limit only for a db_proxy
	// in which both are fixed.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxGroupInFlight int32 `json:"maxGroupInFlight,omitempty"`
}

// RouterSpec describes the routers.
type RouterSpec struct {
	// endpoints lists host:port of routers. A message is announced through one of them.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// SecretKeyRef selects a key of a Secret in the same namespace.
type SecretKeyRef struct {
	// name is the name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key is a key in data of the Secret.
	// +optional
	// +kubebuilder:default=aesKey
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// SendersSpec lists the users who may send messages.
type SendersSpec struct {
	// default is the sender of messages without a senderID. It is immutable.
	// +required
	Default UserID `json:"default,omitempty"`

	// allowed lists the users that a message may name as senderID, in addition to the default.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Allowed []UserID `json:"allowed,omitempty"`
}

// AllowedNamespaces selects the namespaces whose messages may use a server.
//
// +kubebuilder:validation:XValidation:rule="(has(self.from) && self.from == 'Selector') == has(self.selector)",message="selector must be set if and only if from is Selector"
type AllowedNamespaces struct {
	// from is Same (the namespace of the server), All, or Selector.
	// +optional
	// +kubebuilder:default=Same
	From FromNamespaces `json:"from,omitempty"`

	// selector selects namespaces by their labels. It is required if from is Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RecipientRules restricts the recipients of messages. deny takes precedence over allow.
type RecipientRules struct {
	// deny lists the recipients that get no messages.
	// +optional
	Deny RecipientIDs `json:"deny,omitzero"`

	// allow lists the recipients that messages may have. If empty, all recipients that are not in deny are allowed.
	// +optional
	Allow RecipientIDs `json:"allow,omitzero"`
}

// GroupsSpec lists groups of other creators that may be managed: TeamTalkGroups may adopt them. The operator and a
// gateway in direct mode change them as user 0, TeamTalk's system user. Groups of http_msg_server have this creator.
type GroupsSpec struct {
	// adoptable lists the ids of groups that may be managed even if another user created them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Adoptable []GroupID `json:"adoptable,omitempty"`

	// adoptAny permits managing all groups, as http_msg_server does. If unset, only those in adoptable may be managed.
	// +optional
	AdoptAny *bool `json:"adoptAny,omitempty"`
}

// TeamTalkServerStatus is the observed state of a TeamTalk installation.
type TeamTalkServerStatus struct {
	// observedGeneration is the generation that the status is about. It is -1 before the first one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// managedBy is the Lease of the operator that sends messages through this server. An operator with another Lease sends
	// nothing through the server until this Lease is released, or has been absent or unchanged for 30 seconds.
	// +optional
	ManagedBy *ManagedBy `json:"managedBy,omitempty"`

	// keysInUse lists the AES keys with which messages were encrypted: at most 20, the newest last. A key is recorded
	// before it is used. A row that no key decrypts may be a message of the operator, unless the Secret still holds all
	// keys of the row's time.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	KeysInUse []KeyInUse `json:"keysInUse,omitempty"`

	// conditions holds Ready, KeyLoaded, DBProxyConnected and RouterConnected.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// dbProxy counts the connections to all db_proxy endpoints.
	// +optional
	DBProxy *ConnectionCount `json:"dbProxy,omitempty"`

	// router counts the connections to all router endpoints.
	// +optional
	Router *ConnectionCount `json:"router,omitempty"`
}

// ManagedBy names an operator by its Lease.
type ManagedBy struct {
	// leaseNamespace is the namespace of the Lease.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	LeaseNamespace string `json:"leaseNamespace,omitempty"`
	// leaseName is the name of the Lease.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	LeaseName string `json:"leaseName,omitempty"`
	// holderIdentity is the holderIdentity in the Lease of the process that has claimed the server.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	HolderIdentity string `json:"holderIdentity,omitempty"`
}

// MaxKeysInUse is the highest number of keys in status.keysInUse.
const MaxKeysInUse = 20

// KeyInUse identifies an AES key by its place in a Secret. It does not contain the key.
type KeyInUse struct {
	// since is the time when the key was first used. It was used until the next entry's time.
	// +required
	Since metav1.Time `json:"since,omitzero"`
	// secretUID is the UID of the Secret that held the key when it was last in use.
	// +required
	SecretUID types.UID `json:"secretUID,omitempty"`
	// resourceVersion is the resourceVersion of the Secret when the key was last in use.
	// +required
	// +kubebuilder:validation:MaxLength=64
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// name is the key in data of the Secret that holds this AES key, in the version of the newest entry. If empty, the
	// Secret may not hold it any more.
	// +optional
	// +kubebuilder:validation:MaxLength=300
	Name string `json:"name,omitempty"`
}

// ConnectionCount counts connections.
type ConnectionCount struct {
	// connected is the number of connections that are up.
	// +required
	Connected int32 `json:"connected"`
	// desired is the number of connections in the spec.
	// +required
	Desired int32 `json:"desired"`
}

// TeamTalkServer describes a TeamTalk installation and who may use it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkservers,singular=teamtalkserver,shortName=tts,categories=teamtalk
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="DB Proxy",type=integer,JSONPath=`.status.dbProxy.connected`
// +kubebuilder:printcolumn:name="Router",type=integer,JSONPath=`.status.router.connected`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type TeamTalkServer struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec describes the installation.
	// +required
	Spec TeamTalkServerSpec `json:"spec,omitzero"`

	// status is the observed state of the installation.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status TeamTalkServerStatus `json:"status,omitzero"`
}

// TeamTalkServerList is a list of TeamTalkServers.
//
// +kubebuilder:object:root=true
type TeamTalkServerList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TeamTalkServer `json:"items"`
}
