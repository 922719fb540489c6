package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PreviousKeySuffix is appended to the key's name in the Secret to name the key
// before the current one: it opens rows that were stored under it.
const PreviousKeySuffix = ".previous"

// Endpoint is host:port. The host is resolved again at each connect.
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

// Verification says whether messages are read back from the store.
//
// +kubebuilder:validation:Enum=Always;Never
type Verification string

// Verification modes.
const (
	// VerificationAlways reads each message back: db_proxy answers with an id
	// for some messages that it never stored.
	VerificationAlways Verification = "Always"
	// VerificationNever trusts db_proxy's answer; recipients pass through Acknowledged.
	VerificationNever Verification = "Never"
)

// DeliveryTokenMode says whether texts carry a delivery token.
//
// +kubebuilder:validation:Enum=Enabled;Disabled
type DeliveryTokenMode string

// Delivery token modes.
const (
	// DeliveryTokenEnabled hides 64 bits in the filler that clients skip.
	DeliveryTokenEnabled DeliveryTokenMode = "Enabled"
	// DeliveryTokenDisabled sends plain cipher text, 17 bytes longer at most; a
	// message's time is then written to its status before it is sent.
	DeliveryTokenDisabled DeliveryTokenMode = "Disabled"
)

// FromNamespaces says which namespaces may use a server, as in the Gateway API.
//
// +kubebuilder:validation:Enum=Same;All;Selector
type FromNamespaces string

// Values of FromNamespaces.
const (
	// FromSame lets only the server's own namespace use it.
	FromSame FromNamespaces = "Same"
	// FromAll lets every namespace use it.
	FromAll FromNamespaces = "All"
	// FromSelector lets the namespaces use it whose labels match.
	FromSelector FromNamespaces = "Selector"
)

// TeamTalkServerSpec is one TeamTalk installation.
//
// +kubebuilder:validation:XValidation:rule="self.senders.default == oldSelf.senders.default",message="senders.default is immutable: messages without a senderID speak as it; add another TeamTalkServer, or set senderID on messages"
type TeamTalkServerSpec struct {
	// dbProxy is where messages are stored.
	// +required
	DBProxy DBProxySpec `json:"dbProxy,omitzero"`

	// router is where stored messages are announced, so that clients show them at once.
	// +required
	Router RouterSpec `json:"router,omitzero"`

	// aesKeySecretRef names the key that all TeamTalk clients share: exactly 32
	// bytes (AES-256), in a Secret of this namespace. A second key in the Secret,
	// named as this one with ".previous" appended, opens older rows.
	// +required
	AESKeySecretRef SecretKeyRef `json:"aesKeySecretRef,omitzero"`

	// senders are the users that messages may speak as.
	// +required
	Senders SendersSpec `json:"senders,omitzero"`

	// allowedNamespaces says whose messages may use this server.
	// +optional
	// +kubebuilder:default={from: Same}
	AllowedNamespaces AllowedNamespaces `json:"allowedNamespaces,omitzero"`

	// recipients restricts which users and groups messages may reach.
	// +optional
	Recipients *RecipientRules `json:"recipients,omitempty"`

	// rateLimit bounds how fast messages are sent through this server.
	// +optional
	RateLimit RateLimit `json:"rateLimit,omitzero"`

	// verification says whether each message is read back from the store.
	// +optional
	// +kubebuilder:default=Always
	Verification Verification `json:"verification,omitempty"`

	// deliveryToken says whether texts carry a token by which the store can be
	// asked whether a message was sent.
	// +optional
	// +kubebuilder:default=Enabled
	DeliveryToken DeliveryTokenMode `json:"deliveryToken,omitempty"`

	// settleSeconds is how long db_proxy may still execute a request after its
	// connection is gone.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=300
	SettleSeconds int32 `json:"settleSeconds,omitempty"`

	// maxReplicaLagSeconds is how far db_proxy's read replicas may lag.
	// +optional
	// +kubebuilder:default=5
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=300
	MaxReplicaLagSeconds *int32 `json:"maxReplicaLagSeconds,omitempty"`

	// idempotencyWindowSeconds is how far back the store is searched for an
	// idempotencyKey. A conversation with more than about 8000 messages in that time
	// cannot be searched: a message with a key then ends as OutcomeUnknown.
	// +optional
	// +kubebuilder:default=2592000
	// +kubebuilder:validation:Minimum=60
	// +kubebuilder:validation:Maximum=31536000
	IdempotencyWindowSeconds int32 `json:"idempotencyWindowSeconds,omitempty"`
}

// RateLimit is a token bucket. Each part of a text that is split counts.
//
// +kubebuilder:validation:XValidation:rule="!has(self.burst) || self.burst == 0 || (has(self.messagesPerSecond) && self.messagesPerSecond > 0)",message="burst goes with messagesPerSecond"
type RateLimit struct {
	// messagesPerSecond on average, to users and groups alike; 0: no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	MessagesPerSecond int32 `json:"messagesPerSecond,omitempty"`

	// burst is how many may be sent at once after a pause; 0: as many as in a second.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100000
	Burst int32 `json:"burst,omitempty"`
}

// DBProxySpec says how to reach db_proxy, and how hard it may be pressed.
//
// +kubebuilder:validation:XValidation:rule="self.maxGroupInFlight <= self.maxInFlight",message="maxGroupInFlight must not exceed maxInFlight"
type DBProxySpec struct {
	// endpoints are host:port of db_proxy servers before one database.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Endpoints []Endpoint `json:"endpoints,omitempty"`

	// connections held per endpoint.
	// +optional
	// +kubebuilder:default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=16
	Connections int32 `json:"connections,omitempty"`

	// maxInFlight bounds the requests in flight per endpoint, over all its
	// connections and all TeamTalkServers that name it (the lowest counts).
	// +optional
	// +kubebuilder:default=64
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxInFlight int32 `json:"maxInFlight,omitempty"`

	// maxGroupInFlight bounds those of them that touch a group: a stock db_proxy
	// answers 16 at once, and 32 at once deadlock it for good.
	// +optional
	// +kubebuilder:default=8
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1024
	MaxGroupInFlight int32 `json:"maxGroupInFlight,omitempty"`
}

// RouterSpec says how to reach the routers.
type RouterSpec struct {
	// endpoints are host:port of routers. A message is announced through one.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// SecretKeyRef names one key of a Secret in the same namespace.
type SecretKeyRef struct {
	// name of the Secret.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// key in the Secret's data.
	// +optional
	// +kubebuilder:default=aesKey
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[-._a-zA-Z0-9]+$`
	Key string `json:"key,omitempty"`
}

// SendersSpec lists the users that messages may speak as.
type SendersSpec struct {
	// default is the sender of messages that name none. Immutable.
	// +required
	Default UserID `json:"default,omitempty"`

	// allowed are the senders that messages may name; empty: the default only.
	// The default is always allowed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Allowed []UserID `json:"allowed,omitempty"`
}

// AllowedNamespaces says whose messages may use a server.
//
// +kubebuilder:validation:XValidation:rule="(has(self.from) && self.from == 'Selector') == has(self.selector)",message="selector goes with from: Selector, and only with it"
type AllowedNamespaces struct {
	// from is Same (this namespace), All, or Selector.
	// +optional
	// +kubebuilder:default=Same
	From FromNamespaces `json:"from,omitempty"`

	// selector matches labels of namespaces, with from: Selector.
	// +optional
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
}

// RecipientRules restrict which users and groups messages may reach. Deny goes before allow.
type RecipientRules struct {
	// deny lists recipients that no message may reach.
	// +optional
	Deny RecipientSet `json:"deny,omitzero"`

	// allow lists the only recipients that messages may reach; where it names
	// nobody, all that are not denied.
	// +optional
	Allow RecipientSet `json:"allow,omitzero"`
}

// RecipientSet is a set of users and groups.
type RecipientSet struct {
	// users by id.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Users []UserID `json:"users,omitempty"`

	// groups by id.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Groups []GroupID `json:"groups,omitempty"`
}

// TeamTalkServerStatus is what is known of a TeamTalk installation.
type TeamTalkServerStatus struct {
	// observedGeneration is the spec that the status speaks of; -1: none yet.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions: Ready, KeyLoaded, DBProxyConnected, RouterConnected.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// dbProxy counts connections over all endpoints.
	// +optional
	DBProxy *ConnectionCount `json:"dbProxy,omitempty"`

	// router counts connections over all endpoints.
	// +optional
	Router *ConnectionCount `json:"router,omitempty"`
}

// ConnectionCount counts connections.
type ConnectionCount struct {
	// connected now.
	// +required
	Connected int32 `json:"connected"`
	// desired by the spec.
	// +required
	Desired int32 `json:"desired"`
}

// TeamTalkServer is one TeamTalk installation and who may use it.
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

	// spec is the installation as declared.
	// +required
	Spec TeamTalkServerSpec `json:"spec,omitzero"`

	// status is what is known of it.
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
