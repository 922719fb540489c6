// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// groupMark precedes the resource's UID in the fragment of a group's avatar.
const groupMark = "#teamtalkgroup-"

// ServerKey returns the TeamTalkServer of the group.
func (g *TeamTalkGroup) ServerKey() types.NamespacedName {
	m := TeamTalkMessage{Spec: TeamTalkMessageSpec{ServerRef: g.Spec.ServerRef}}
	m.Namespace = g.Namespace
	return m.ServerKey()
}

// Adopts reports whether the resource manages a group that it did not create.
func (g *TeamTalkGroup) Adopts() bool { return g.Spec.GroupID != nil }

// ChatGroup returns the id of the group that the resource manages or is to adopt. It is 0 before the group is created.
func (g *TeamTalkGroup) ChatGroup() GroupID {
	switch {
	case g.Spec.GroupID != nil:
		return *g.Spec.GroupID
	case g.Status.GroupID != nil:
		return *g.Status.GroupID
	}
	return 0
}

// RemovesOthers reports whether the operator removes members that the resource does not list.
func (g *TeamTalkGroup) RemovesOthers() bool {
	if g.Spec.MembersPolicy == "" {
		return !g.Adopts()
	}
	return g.Spec.MembersPolicy == MembersExact
}

// Avatar returns the avatar of a group that the resource creates, with its mark.
func (g *TeamTalkGroup) Avatar() string { return g.Spec.AvatarURL + groupMark + string(g.UID) }

// IsMarked reports whether the avatar of a group has the mark of the resource.
func (g *TeamTalkGroup) IsMarked(avatar string) bool {
	return strings.HasSuffix(avatar, groupMark+string(g.UID))
}

// Listed returns the ids of the members that the resource lists, by id or by a name whose id is known. An id may occur
// twice.
func (g *TeamTalkGroup) Listed() []UserID {
	ids := slices.Clone(g.Spec.Members.Users)
	known := g.knownNames()
	for _, name := range g.Spec.Members.UserNames {
		if id, ok := known[name]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// UnknownNames returns the listed names whose id is not recorded.
func (g *TeamTalkGroup) UnknownNames() (names []string) {
	known := g.knownNames()
	for _, name := range g.Spec.Members.UserNames {
		if _, ok := known[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}

func (g *TeamTalkGroup) knownNames() map[string]UserID {
	known := make(map[string]UserID, len(g.Status.MemberNames))
	for _, m := range g.Status.MemberNames {
		known[m.Name] = m.ID
	}
	return known
}

// Users returns the members that the group must have, in order: those that are listed, and the sender.
func (g *TeamTalkGroup) Users(sender UserID) []uint32 {
	ids := []uint32{uint32(sender)}
	for _, id := range g.Listed() {
		ids = append(ids, uint32(id))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
