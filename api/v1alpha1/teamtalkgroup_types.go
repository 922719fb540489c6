// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// MaxGroupMembers is the highest number of members that a TeamTalkGroup lists.
const MaxGroupMembers = 2000

// Reasons of a TeamTalkGroup's conditions, in addition to those about the server and TeamTalk's directory.
const (
	// ReasonChanging: the group is being created, or its members are being changed.
	ReasonChanging = "Changing"
	// ReasonGroupCreateFailed: db_proxy refused to create the group.
	ReasonGroupCreateFailed = "GroupCreateFailed"
	// ReasonMembersNotFound: users to be added do not exist, or have left TeamTalk. Nothing is changed.
	ReasonMembersNotFound = "MembersNotFound"
)

// MembersPolicy is the policy for members that the resource does not list.
//
// +kubebuilder:validation:Enum=Exact;AtLeast
type MembersPolicy string

// Policies for members.
const (
	// MembersExact removes them.
	MembersExact MembersPolicy = "Exact"
	// MembersAtLeast leaves them.
	MembersAtLeast MembersPolicy = "AtLeast"
)

// TeamTalkGroupSpec describes a chat group: a new one, or an existing one.
//
// +kubebuilder:validation:XValidation:rule="has(self.displayName) != has(self.groupID)",message="set displayName to create a group, or groupID to adopt one: an adopted group keeps its name"
// +kubebuilder:validation:XValidation:rule="has(self.displayName) || !has(self.avatarURL)",message="an adopted group keeps its avatar: remove avatarURL"
// +kubebuilder:validation:XValidation:rule="has(self.displayName) == has(oldSelf.displayName) && (!has(self.displayName) || self.displayName == oldSelf.displayName)",message="displayName is immutable: TeamTalk cannot rename a group",fieldPath=".displayName"
// +kubebuilder:validation:XValidation:rule="has(self.avatarURL) == has(oldSelf.avatarURL) && (!has(self.avatarURL) || self.avatarURL == oldSelf.avatarURL)",message="avatarURL is immutable: TeamTalk cannot change it",fieldPath=".avatarURL"
// +kubebuilder:validation:XValidation:rule="has(self.groupID) == has(oldSelf.groupID) && (!has(self.groupID) || self.groupID == oldSelf.groupID)",message="groupID is immutable: create another TeamTalkGroup",fieldPath=".groupID"
// +kubebuilder:validation:XValidation:rule="self.serverRef == oldSelf.serverRef",message="serverRef is immutable: create another TeamTalkGroup",fieldPath=".serverRef"
type TeamTalkGroupSpec struct {
	// serverRef refers to the TeamTalkServer of the group. If unset, it is the TeamTalkServer "default" in the group's
	// namespace.
	// +optional
	// +kubebuilder:default={name: default}
	ServerRef *ServerReference `json:"serverRef,omitempty"`

	// displayName is the name of a new group. It is immutable.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:XValidation:rule="self.trim() != '' && !self.contains('\\u0000')",message="displayName must have a character that is visible, and no NUL"
	DisplayName string `json:"displayName,omitempty"`

	// avatarURL is the URL of the picture of a new group. The operator appends a fragment, by which it finds the group
	// later. It is immutable.
	// +optional
	// +kubebuilder:validation:MinLength=8
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:Pattern=`^https?://[^#\s]+$`
	AvatarURL string `json:"avatarURL,omitempty"`

	// groupID is the id of an existing group to adopt. The TeamTalkServer must list it in groups.adoptable, or set
	// groups.adoptAny. It is immutable.
	// +optional
	GroupID *GroupID `json:"groupID,omitempty"`

	// members lists the members of the group. The default sender of the TeamTalkServer is always a member.
	// +optional
	Members GroupMembers `json:"members,omitzero"`

	// membersPolicy is the policy for other members. Exact removes them. AtLeast leaves them. If unset, it is Exact for a
	// created group, and AtLeast for an adopted one.
	// +optional
	MembersPolicy MembersPolicy `json:"membersPolicy,omitempty"`
}

// GroupMembers lists the members of a group.
//
// +kubebuilder:validation:XValidation:rule="(has(self.users) ? self.users.size() : 0) + (has(self.userNames) ? self.userNames.size() : 0) <= 2000",message="at most 2000 members in users and userNames together"
type GroupMembers struct {
	// users lists TeamTalk user ids.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2000
	Users []UserID `json:"users,omitempty"`

	// userNames lists the login names of TeamTalk users. They are case-sensitive. The id of a name is recorded in
	// status.memberNames. It is not looked up again while the name is listed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	UserNames []string `json:"userNames,omitempty"`
}

// MemberName is a user that was found by its login name.
type MemberName struct {
	// name is the name in members.userNames.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Name string `json:"name,omitempty"`

	// id is the id of the user who had the name when it was looked up.
	// +required
	ID UserID `json:"id,omitempty"`
}

// GroupCreateAttempt is an attempt to create a group.
type GroupCreateAttempt struct {
	// time is the time when the attempt began.
	// +required
	Time metav1.Time `json:"time,omitzero"`

	// senderID is the user in whose name the group is created. The operator searches for the group among those of this
	// user.
	// +required
	SenderID UserID `json:"senderID,omitempty"`

	// serverUID is the UID of the TeamTalkServer. A search through another TeamTalkServer does not prove that the group
	// was not created.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ServerUID string `json:"serverUID,omitempty"`
}

// TeamTalkGroupStatus is the observed state of a group.
type TeamTalkGroupStatus struct {
	// observedGeneration is the generation that the status is about. It is -1 before the first one.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// groupID is the id of the group in TeamTalk, once it is created or adopted.
	// +optional
	GroupID *GroupID `json:"groupID,omitempty"`

	// memberNames lists the ids that were found for the names in members.userNames. They are recorded before the group is
	// created or changed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	MemberNames []MemberName `json:"memberNames,omitempty"`

	// members is the number of members that the group has in TeamTalk.
	// +optional
	Members *int32 `json:"members,omitempty"`

	// createAttempt is the last attempt to create the group, while its outcome is not known. It is recorded before the
	// request is sent.
	// +optional
	CreateAttempt *GroupCreateAttempt `json:"createAttempt,omitempty"`

	// conditions holds Ready, Reconciling and Stalled.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TeamTalkGroup is a chat group whose members are kept as declared. TeamTalk cannot delete groups. If the resource is
// deleted, the group remains.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=teamtalkgroups,singular=teamtalkgroup,shortName=ttg,categories=teamtalk
// +kubebuilder:printcolumn:name="Group",type=integer,JSONPath=`.status.groupID`
// +kubebuilder:printcolumn:name="Members",type=integer,JSONPath=`.status.members`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Name",type=string,priority=1,JSONPath=`.spec.displayName`
// +kubebuilder:printcolumn:name="Server",type=string,priority=1,JSONPath=`.spec.serverRef.name`
type TeamTalkGroup struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec describes the group.
	// +required
	Spec TeamTalkGroupSpec `json:"spec,omitzero"`

	// status is the observed state of the group.
	// +optional
	// +kubebuilder:default:={"observedGeneration":-1}
	Status TeamTalkGroupStatus `json:"status,omitzero"`
}

// TeamTalkGroupList is a list of TeamTalkGroups.
//
// +kubebuilder:object:root=true
type TeamTalkGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []TeamTalkGroup `json:"items"`
}
