package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RecipientType says what a recipient's id names.
//
// +kubebuilder:validation:Enum=User;Group
type RecipientType string

// Recipient types.
const (
	// RecipientUser is a TeamTalk user.
	RecipientUser RecipientType = "User"
	// RecipientGroup is a TeamTalk group.
	RecipientGroup RecipientType = "Group"
)

// RecipientState is how far a message has come on its way to one recipient.
//
// +kubebuilder:validation:Enum=Pending;InDoubt;Acknowledged;Stored;Routed;Failed
type RecipientState string

// Recipient states.
const (
	// StatePending: not sent, or proved not stored.
	StatePending RecipientState = "Pending"
	// StateInDoubt: it may have been sent; the store is asked before anything else.
	StateInDoubt RecipientState = "InDoubt"
	// StateAcknowledged: db_proxy gave an id that is not verified.
	StateAcknowledged RecipientState = "Acknowledged"
	// StateStored: read back from the store.
	StateStored RecipientState = "Stored"
	// StateRouted: handed to the router as well.
	StateRouted RecipientState = "Routed"
	// StateFailed: nothing more is tried.
	StateFailed RecipientState = "Failed"
)

// RecipientCounts add up the recipients of one message.
type RecipientCounts struct {
	// recipients in all.
	// +required
	Recipients int32 `json:"recipients"`
	// stored, or further.
	// +required
	Stored int32 `json:"stored"`
	// routed to clients.
	// +required
	Routed int32 `json:"routed"`
	// failed for good.
	// +required
	Failed int32 `json:"failed"`
}

// RecipientStatus is one recipient's fate.
type RecipientStatus struct {
	// type is User or Group.
	// +required
	Type RecipientType `json:"type"`

	// id of the user or group.
	// +required
	ID int64 `json:"id"`

	// state is how far the message has come.
	// +required
	State RecipientState `json:"state"`

	// reason why the recipient failed, waits or is in doubt; or how it was delivered.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message for a human.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Message string `json:"message,omitempty"`

	// messageIDs are TeamTalk's ids in the conversation.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	MessageIDs []int64 `json:"messageIDs,omitempty"`

	// earlierReason is what was unusual about the parts before the current one, of a
	// text that is split, while there is a current one.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	EarlierReason string `json:"earlierReason,omitempty"`

	// earlierMessage says the same for a human.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	EarlierMessage string `json:"earlierMessage,omitempty"`

	// attempts counts the sends.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// createTime is TeamTalk's time of a message that carries no delivery token:
	// written before it is sent, it is how the message is found again.
	// +optional
	CreateTime *metav1.Time `json:"createTime,omitempty"`

	// inDoubtSince is when the message may first have been sent without proof.
	// +optional
	InDoubtSince *metav1.Time `json:"inDoubtSince,omitempty"`

	// storedAt is when the message was found in the store.
	// +optional
	StoredAt *metav1.Time `json:"storedAt,omitempty"`

	// routedAt is when a router took it.
	// +optional
	RoutedAt *metav1.Time `json:"routedAt,omitempty"`
}
