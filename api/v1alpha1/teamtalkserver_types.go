// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// PreviousKeySuffix is appended to the AES key's name in the Secret. That entry is the previous AES
	// key, which decrypts messages that were stored with it. Older ones have ".2", ".3" and so on after it.
	PreviousKeySuffix = ".previous"
	// MaxPreviousKeys is how many previous keys are read, without a gap in their numbers.
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

// Verification is whether messages are read back from the store.
//
// +kubebuilder:validation:Enum=Always;Never
type Verification string

// Verification modes.
const (
	// VerificationAlways reads each message back, because db_proxy answers with an id for some messages
	// that it does not store.
	VerificationAlways Verification = "Always"
	// VerificationNever trusts the answer of db_proxy.
	VerificationNever Verification = "Never"
)

// DeliveryTokenMode is whether texts carry a delivery token.
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

// FromNamespaces is which namespaces may use a server, as in the Gateway API.
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

	// senders are the users who may send messages.
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

	// groups are the groups of other creators that may be managed through this server. If unset, there are none.
	// +optional
	Groups GroupsSpec `json:"groups,omitzero"`

	// rateLimit limits how fast messages are sent. If unset, there is no limit.
	// +optional
	RateLimit RateLimit `json:"rateLimit,omitzero"`

	// verification is whether each message is read back from the store.
	// +optional
	// +kubebuilder:default=Always
	Verification Verification `json:"verification,omitempty"`

	// deliveryToken is whether texts carry a token, by which the operator finds a message in the store.
	// +optional
	// +kubebuilder:default=Enabled
	DeliveryToken DeliveryTokenMode `json:"deliveryToken,omitempty"`

	// settleSeconds is how long db_proxy may still execute a request after its connection has ended.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	SettleSeconds int32 `json:"settleSeconds,omitempty"`

	// maxReplicaLagSeconds is the longest lag of the read replicas behind db_proxy.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	MaxReplicaLagSeconds *int32 `json:"maxReplicaLagSeconds,omitempty"`

	// idempotencyWindowSeconds is how far back the store is searched for an idempotencyKey, or for a message
	// that its name and text identify, at least. A conversation is searched to its beginning, except
	// that a search reads at most about 65,000 messages, 32 MiB, or what db_proxy returns in 5 seconds: about
	// 8,000 messages of the longest texts, or 50 with audio. If that does not reach back to the window, the
	// message fails with the reason OutcomeUnknown. What is older than both may be sent again.
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

	// burst is how many messages may be sent at once after a pause. 0 means messagesPerSecond.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Burst int32 `json:"burst,omitempty"`
}

// DBProxySpec describes the db_proxy servers and limits the requests to them.
//
// +kubebuilder:validation:XValidation:rule="self.maxGroupInFlight <= self.maxInFlight",message="maxGroupInFlight must not exceed maxInFlight"
type DBProxySpec struct {
	// endpoints are host:port of db_proxy servers with the same database.
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

	// maxInFlight limits the concurrent requests of this server to each db_proxy. The operator limits those of all
	// TeamTalkServers together, with --db-proxy-max-in-flight.
	// +optional
	// +kubebuilder:default=64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxInFlight int32 `json:"maxInFlight,omitempty"`

	// maxGroupInFlight limits the concurrent requests of this server about groups. The operator limits those of all
	// TeamTalkServers together, with --db-proxy-max-group-in-flight. In a stock db_proxy, group messages that
	// overlap can hang a thread until it is restarted, and 32 at once deadlock it. Raise it only for a
	// db_proxy in which both are repaired.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxGroupInFlight int32 `json:"maxGroupInFlight,omitempty"`
}

// RouterSpec describes the routers.
type RouterSpec struct {
	// endpoints are host:port of routers. A message is announced through one of them.
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

	// allowed are the users that a message may name as senderID, in addition to the default.
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

	// allow lists the recipients that messages may have. If empty, all recipients are allowed that are not
	// in deny.
	// +optional
	Allow RecipientIDs `json:"allow,omitzero"`
}

// GroupsSpec lists groups of other creators that may be managed: TeamTalkGroups may adopt them. The operator and a
// gateway in direct mode change them in the name of user 0, TeamTalk's system, which also is the creator of the groups
// that http_msg_server made.
type GroupsSpec struct {
	// adoptable are the ids of groups that may be managed, even if another user created them.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Adoptable []GroupID `json:"adoptable,omitempty"`

	// adoptAny permits to manage all groups, as http_msg_server does. If unset, only those in adoptable are permitted.
	// +optional
	AdoptAny *bool `json:"adoptAny,omitempty"`
}

// TeamTalkServerStatus is the observed state of a TeamTalk installation.
type TeamTalkServerStatus struct {
	// observedGeneration is the generation that the status is about. It is -1 before the first one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// managedBy is the Lease of the operator that sends messages through this server. An operator with another Lease
	// sends nothing through it until that Lease is released, or has been absent or unchanged for 30 seconds.
	// +optional
	ManagedBy *ManagedBy `json:"managedBy,omitempty"`

	// keysInUse are the AES keys that messages were encrypted with, the newest last, at most 20. A key is recorded
	// before it is used. A row that no key decrypts may hide a message, unless it dates from a time for which this shows
	// only keys that the Secret still holds.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=20
	KeysInUse []KeyInUse `json:"keysInUse,omitempty"`

	// conditions are Ready, KeyLoaded, DBProxyConnected and RouterConnected.
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
	// holderIdentity is the process that has claimed the server, as the Lease names it.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	HolderIdentity string `json:"holderIdentity,omitempty"`
}

// MaxKeysInUse is how many keys status.keysInUse holds.
const MaxKeysInUse = 20

// KeyInUse is an AES key, of which the API shows no more than where it is.
type KeyInUse struct {
	// since is when the key was first used. It was used until the next entry's time.
	// +required
	Since metav1.Time `json:"since,omitzero"`
	// secretUID is the UID of the Secret that held the key when it was last in use.
	// +required
	SecretUID types.UID `json:"secretUID,omitempty"`
	// resourceVersion is that of the Secret.
	// +required
	// +kubebuilder:validation:MaxLength=64
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// name is the key in data of the Secret under which this key is now, in the version that the newest entry shows. If
	// empty, the Secret is not known to hold it.
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
