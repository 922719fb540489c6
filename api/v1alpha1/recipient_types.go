// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RecipientType is the type of a recipient.
//
// +kubebuilder:validation:Enum=User;Group
type RecipientType string

// Recipient types.
const (
	RecipientUser  RecipientType = "User"
	RecipientGroup RecipientType = "Group"
)

// RecipientState is the delivery state of a message for one recipient.
//
// +kubebuilder:validation:Enum=Pending;InDoubt;Acknowledged;Stored;Routed;Failed
type RecipientState string

// Recipient states.
const (
	// StatePending: the message was not sent, or the store proves that it does not hold it.
	StatePending RecipientState = "Pending"
	// StateInDoubt: the message may have been sent. The operator searches the store before it retries.
	StateInDoubt RecipientState = "InDoubt"
	// StateAcknowledged: db_proxy answered with an id. The message was not read back yet.
	StateAcknowledged RecipientState = "Acknowledged"
	// StateStored: the message was read back from the store.
	StateStored RecipientState = "Stored"
	// StateRouted: the message is stored, and a router has accepted it.
	StateRouted RecipientState = "Routed"
	// StateFailed: the operator will not retry.
	StateFailed RecipientState = "Failed"
)

// RecipientCounts counts the recipients of one message.
type RecipientCounts struct {
	// recipients is the number of all recipients.
	// +required
	Recipients int32 `json:"recipients"`
	// stored is the number of recipients in state Stored or Routed.
	// +required
	Stored int32 `json:"stored"`
	// routed is the number of recipients in state Routed.
	// +required
	Routed int32 `json:"routed"`
	// failed is the number of recipients in state Failed.
	// +required
	Failed int32 `json:"failed"`
	// read is the number of recipients that are known to have read the message.
	// +optional
	Read int32 `json:"read,omitempty"`
}

// RevisionStatus is the outcome of one revision of a message.
type RevisionStatus struct {
	// number is the number of the revision, counted from 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Number int32 `json:"number"`

	// digest identifies the content and longText of the revision.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Digest string `json:"digest,omitempty"`

	// counts are the numbers of recipients of the revision by state.
	// +required
	Counts RecipientCounts `json:"counts,omitzero"`

	// superseded is the number of recipients to which the revision was not sent, because a later revision replaced it.
	// +optional
	Superseded int32 `json:"superseded,omitempty"`

	// startTime is the time when the operator accepted the revision.
	// +required
	StartTime metav1.Time `json:"startTime,omitzero"`

	// completionTime is the time when the revision finished or was superseded.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// RecipientStatus is the delivery status of one recipient.
type RecipientStatus struct {
	// type is User or Group.
	// +required
	Type RecipientType `json:"type"`

	// id is the id of the user or group. It is unset while a name or TeamTalkGroup was not looked up yet, or if it was not
	// found.
	// +optional
	ID int64 `json:"id,omitempty"`

	// name is the entry of to.userNames or to.groupNames for which the id was found.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`

	// ref is the name of the TeamTalkGroup in to.groupRefs for which the id was found.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Ref string `json:"ref,omitempty"`

	// state is the delivery state.
	// +required
	State RecipientState `json:"state"`

	// reason is a CamelCase reason for the state.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// message explains the reason and says what to do.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Message string `json:"message,omitempty"`

	// messageIDs are TeamTalk's ids of the message in the conversation: one for each segment of its text.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=20
	MessageIDs []int64 `json:"messageIDs,omitempty"`

	// formerMessageID is TeamTalk's id of the last message of an earlier revision in the conversation. A search of the
	// store proves nothing unless it shows this message.
	// +optional
	FormerMessageID int64 `json:"formerMessageID,omitempty"`

	// earlierReason is the reason of the segments before the current one, if the text is split.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	EarlierReason string `json:"earlierReason,omitempty"`

	// earlierMessage explains earlierReason.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	EarlierMessage string `json:"earlierMessage,omitempty"`

	// attempts is the number of times that the message was sent.
	// +optional
	Attempts int32 `json:"attempts,omitempty"`

	// createTime is the TeamTalk time of a message without a delivery token. It is recorded before the message is sent.
	// The operator uses it to find the message in the store.
	// +optional
	CreateTime *metav1.Time `json:"createTime,omitempty"`

	// inDoubtSince is the time when the recipient entered the state InDoubt.
	// +optional
	InDoubtSince *metav1.Time `json:"inDoubtSince,omitempty"`

	// storedAt is the time when the message was read back from the store.
	// +optional
	StoredAt *metav1.Time `json:"storedAt,omitempty"`

	// routedAt is the time when a router accepted the message.
	// +optional
	RoutedAt *metav1.Time `json:"routedAt,omitempty"`

	// readAt is the time when the operator saw the user, or the first member of the group other than the sender, read the
	// message.
	// +optional
	ReadAt *metav1.Time `json:"readAt,omitempty"`

	// readBy is the number of users that the operator saw read the message until it wrote the status. It is 1 for a user.
	// For a group, the sender is not counted. Readers are counted until the condition Read is decided, up to 1000.
	// +optional
	ReadBy int32 `json:"readBy,omitempty"`
}

// ReadPolicy describes who must read a message, and by when.
type ReadPolicy struct {
	// quorum is the number of recipients that must read the message, out of those to which it was routed. If unset, all of
	// them must.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000
	Quorum *int32 `json:"quorum,omitempty"`

	// deadlineSeconds limits the time after completionTime in which the message must be read. After it, the condition Read
	// is False with the reason ReadDeadlineExceeded. Ready does not change. If the message is suspended then and has
	// escalateTo, it can be read until the suspension ends.
	// +optional
	// +kubebuilder:default=86400
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2592000
	DeadlineSeconds *int32 `json:"deadlineSeconds,omitempty"`

	// escalateTo lists recipients who get the message too, below a first line that says why. It is escalated if too few
	// recipients have read it when the deadline passes, or if it was routed to fewer than must read it. Each of them gets
	// it once, even if to lists it too. Names are looked up before the message is sent, and again when it is escalated. A
	// TeamTalkGroup that is not Ready delays only itself. Nothing is escalated while suspend is true, nor once the
	// annotation teamtalk.io/resolved-at is set.
	// +optional
	// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.groups) ? self.groups.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) + (has(self.groupNames) ? self.groupNames.size() : 0) + (has(self.groupRefs) ? self.groupRefs.size() : 0) > 0",message="name at least one recipient in users, userNames, groups, groupNames or groupRefs"
	EscalateTo *Recipients `json:"escalateTo,omitempty"`
}

// EscalationStatus is the delivery status of an escalated message for the recipients in escalateTo.
type EscalationStatus struct {
	// startTime is the time when the message was escalated. It is recorded before anything is sent. If unset, the message
	// was not escalated.
	// +optional
	StartTime *metav1.Time `json:"startTime,omitempty"`

	// reason is the reason of the condition Read for which the message was escalated.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// firstLine is the first line of the text, which says why the recipients get it.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	FirstLine string `json:"firstLine,omitempty"`

	// counts holds the numbers of recipients by state.
	// +optional
	Counts *RecipientCounts `json:"counts,omitempty"`

	// recipients is the delivery status of each recipient in escalateTo, as in status.recipients.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Recipients []RecipientStatus `json:"recipients,omitempty"`

	// text identifies the text that may be in the store, as status.text does. Its digest is that of the text without the
	// first line.
	// +optional
	Text *RecordedText `json:"text,omitempty"`

	// completionTime is the time when the escalation ended.
	// +optional
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
}

// Recipients is a set of users and groups. Names and TeamTalkGroups are looked up when the message is sent. Their ids
// are recorded before anything is sent, and are not looked up again.
type Recipients struct {
	// users lists TeamTalk user ids.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Users []UserID `json:"users,omitempty"`

	// groups lists TeamTalk group ids. The sender must be a member of each group.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Groups []GroupID `json:"groups,omitempty"`

	// userNames lists the login names of TeamTalk users. They are case-sensitive.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	UserNames []string `json:"userNames,omitempty"`

	// groupNames lists names of normal groups of which the sender is a member. They are case-sensitive.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	GroupNames []string `json:"groupNames,omitempty"`

	// groupRefs refers to TeamTalkGroups of the same TeamTalkServer, in the message's namespace. The message waits until
	// each of them is Ready.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	GroupRefs []GroupReference `json:"groupRefs,omitempty"`
}

// GroupReference refers to a TeamTalkGroup.
type GroupReference struct {
	// name is the name of the TeamTalkGroup.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// NamedRecipients is a set of users and groups, by id or name.
type NamedRecipients struct {
	// users lists TeamTalk user ids.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Users []UserID `json:"users,omitempty"`

	// groups lists TeamTalk group ids. The sender must be a member of each group.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Groups []GroupID `json:"groups,omitempty"`

	// userNames lists the login names of TeamTalk users. They are case-sensitive.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	UserNames []string `json:"userNames,omitempty"`

	// groupNames lists names of normal groups of which the sender is a member. They are case-sensitive.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	GroupNames []string `json:"groupNames,omitempty"`
}

// All returns the recipients: first users, then groups, then those given by name.
func (r *NamedRecipients) All() []Recipient {
	all := Recipients{Users: r.Users, Groups: r.Groups, UserNames: r.UserNames, GroupNames: r.GroupNames}
	return all.All()
}

// RecipientIDs is a set of ids of users and groups.
type RecipientIDs struct {
	// users lists TeamTalk user ids.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Users []UserID `json:"users,omitempty"`

	// groups lists TeamTalk group ids. The sender must be a member of each group.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Groups []GroupID `json:"groups,omitempty"`
}

// Recipient is a TeamTalk user or group. It is not part of the API.
//
// +kubebuilder:object:generate=false
type Recipient struct {
	Type RecipientType
	// ID is 0 while only the Name or the Ref is known.
	ID uint32
	// Name and Ref (the name of a TeamTalkGroup) are set only if ID is 0, so that equal recipients have equal values.
	Name, Ref string
}

// Resolved reports whether the id is known.
func (r Recipient) Resolved() bool { return r.ID != 0 }

// Recipient returns the recipient that the status is about.
func (r *RecipientStatus) Recipient() Recipient {
	to := Recipient{Type: r.Type, ID: uint32(r.ID)}
	if !to.Resolved() {
		to.Name, to.Ref = r.Name, r.Ref
	}
	return to
}

// All returns the recipients: first users, then groups, then those given by name or reference.
func (r *Recipients) All() []Recipient {
	ids := RecipientIDs{Users: r.Users, Groups: r.Groups}
	all := slices.Grow(ids.All(), len(r.UserNames)+len(r.GroupNames)+len(r.GroupRefs))
	for _, name := range r.UserNames {
		all = append(all, Recipient{Type: RecipientUser, Name: name})
	}
	for _, name := range r.GroupNames {
		all = append(all, Recipient{Type: RecipientGroup, Name: name})
	}
	for _, ref := range r.GroupRefs {
		all = append(all, Recipient{Type: RecipientGroup, Ref: ref.Name})
	}
	return all
}

// Len returns the number of entries.
func (r *Recipients) Len() int {
	return len(r.Users) + len(r.Groups) + len(r.UserNames) + len(r.GroupNames) + len(r.GroupRefs)
}

// HasNames reports whether recipients are given by name or reference.
func (r *Recipients) HasNames() bool { return len(r.UserNames)+len(r.GroupNames)+len(r.GroupRefs) > 0 }

// All returns the recipients, the users first.
func (r *RecipientIDs) All() []Recipient {
	all := make([]Recipient, 0, len(r.Users)+len(r.Groups))
	for _, id := range r.Users {
		all = append(all, Recipient{Type: RecipientUser, ID: uint32(id)})
	}
	for _, id := range r.Groups {
		all = append(all, Recipient{Type: RecipientGroup, ID: uint32(id)})
	}
	return all
}

// Has reports whether the set contains the recipient.
func (r *RecipientIDs) Has(t RecipientType, id int64) bool {
	if t == RecipientGroup {
		return slices.Contains(r.Groups, GroupID(id))
	}
	return slices.Contains(r.Users, UserID(id))
}
