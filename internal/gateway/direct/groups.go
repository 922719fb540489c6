// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

const (
	// groupTimeout limits a change of a group.
	groupTimeout = 2500 * time.Millisecond
	// pollInterval is the time between reads of a group that does not show the change yet.
	pollInterval = 100 * time.Millisecond
	// routerTimeout is how long a change waits for a router, as that of a gateway that has just started: without one, the
	// change is not announced.
	routerTimeout = 500 * time.Millisecond
	// announceTimeout limits the announcement of a change that is done.
	announceTimeout = 300 * time.Millisecond

	alreadyDone = "no change was needed"
)

// CreateGroup implements api.Groups. TeamTalk has no idempotency key for groups: without an answer, one may exist.
func (s *Sender) CreateGroup(ctx context.Context, g api.NewGroup) (api.GroupResult, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	_, session, err := s.sessionOf(ctx, g.Namespace, g.Server, g.By)
	if err != nil {
		return api.GroupResult{}, err
	}
	if err := checkUsers(ctx, session, g.By, g.Members); err != nil {
		return api.GroupResult{}, err
	}
	id, err := session.CreateGroup(ctx, ctx, g.NewGroup)
	if err != nil {
		return api.GroupResult{}, groupError(err)
	}
	change := dbproxy.MemberChange{By: g.By, Group: id, Members: g.Members}
	members, shown := pollMembers(ctx, session, change, g.Name)
	if !shown {
		return api.GroupResult{}, api.Refuse(v1alpha1.ReasonOutcomeUnknown, "db_proxy answered with group %d, "+
			"but does not show it as requested: it may have been created, check before you try again", id)
	}
	return announce(ctx, session, change, dbproxy.Membership{Current: members, Changed: g.Members}), nil
}

// ChangeMembers implements api.Groups. It may be repeated: a change that is not needed is done.
func (s *Sender) ChangeMembers(ctx context.Context, c api.MemberChange) (api.GroupResult, error) {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	server, session, err := s.sessionOf(ctx, c.Namespace, c.Server, c.By)
	if err != nil {
		return api.GroupResult{}, err
	}
	change := c.MemberChange
	group, err := readGroup(ctx, session, change, func(g *wire.GroupInfo) { dropOthers(change, g) })
	switch {
	case err != nil:
		return api.GroupResult{}, groupError(err)
	case group == nil: // db_proxy would not answer the change
		return api.GroupResult{}, api.Refuse(v1alpha1.ReasonGroupNotFound,
			"group %d does not exist in TeamTalk, or its database is down", c.Group)
	case len(group.GetGroupMemberList()) > 0 && isDone(change, group):
		return api.GroupResult{Group: c.Group, Detail: alreadyDone}, nil
	}
	if !c.Remove {
		if err := checkUsers(ctx, session, c.By, c.Members); err != nil {
			return api.GroupResult{}, err
		}
	}
	by, err := actingUser(server, change, group)
	if err != nil {
		return api.GroupResult{}, err
	}
	change.By = by
	membership, err := session.ChangeMembers(ctx, ctx, change)
	if err != nil {
		return api.GroupResult{}, groupError(err)
	}
	membership.Current = nil // read below
	members, shown := pollMembers(ctx, session, change, "")
	switch {
	case !shown:
		return api.GroupResult{}, api.Refuse(v1alpha1.ReasonOutcomeUnknown,
			"db_proxy reported success, but the group does not show the change: check before you retry")
	case len(membership.Changed) == 0:
		return api.GroupResult{Group: c.Group, Detail: alreadyDone}, nil
	}
	membership.Current = members
	return announce(ctx, session, change, membership), nil
}

// sessionOf returns a session that is ready, for a user who may act.
func (s *Sender) sessionOf(
	ctx context.Context, namespace, name string, by uint32,
) (*v1alpha1.TeamTalkServer, *connection.Session, error) {
	server, session, err := s.servers.session(ctx, namespace, name)
	if err != nil {
		return nil, nil, err
	}
	if cause := server.Spec.Senders.Check(v1alpha1.UserID(by)); cause != nil {
		return nil, nil, (*api.Refusal)(cause)
	}
	if err := session.WaitReady(ctx); err != nil {
		return nil, nil, api.Refuse(v1alpha1.ReasonServerNotReady, "db_proxy is not connected")
	}
	ctx, cancel := context.WithTimeout(ctx, routerTimeout)
	defer cancel()
	_ = session.WaitRouter(ctx) // the answer says if none has announced the change
	return server, session, nil
}

// systemUser is TeamTalk's user that may change every group. http_msg_server acts as it, so that it is the creator of
// the groups that were made there.
const systemUser = 0

// actingUser returns the user that db_proxy allows to change the group: the user of the request, or systemUser if the
// server lists the group as adoptable. db_proxy allows the creator, and allows all users to add members to a temporary
// group.
func actingUser(server *v1alpha1.TeamTalkServer, c dbproxy.MemberChange, g *wire.GroupInfo) (uint32, error) {
	temporary := g.GetGroupType() == wire.GroupType_GROUP_TYPE_TMP
	switch creator := g.GetGroupCreatorId(); {
	case creator == c.By, temporary && !c.Remove:
		return c.By, nil
	case server.Spec.Groups.MayAdopt(v1alpha1.GroupID(c.Group)):
		return systemUser, nil
	default:
		owner := fmt.Sprintf("user %d", creator)
		if creator == systemUser {
			owner = "the system (user 0), like groups that http_msg_server created"
		}
		return 0, api.Refuse(v1alpha1.ReasonGroupNotAdoptable, "group %d belongs to %s, and user %d may not change it: "+
			"add %d to spec.groups.adoptable of the TeamTalkServer %s/%s, or set spec.groups.adoptAny there",
			c.Group, owner, c.By, c.Group, server.Namespace, server.Name)
	}
}

// checkUsers refuses users who do not exist. db_proxy does not check it.
func checkUsers(ctx context.Context, session *connection.Session, by uint32, members []uint32) error {
	path, done, err := session.Path()
	if err != nil {
		return groupError(err)
	}
	defer done()
	ids := append([]uint32{by}, members...)
	users, err := path.Users(ctx, by, ids)
	switch {
	case err != nil:
		return groupError(err)
	case len(users) == 0:
		return api.Refuse(v1alpha1.ReasonNoAnswer, "TeamTalk shows none of the users; its database may be down")
	}
	for _, id := range ids {
		if users[id] == nil {
			return api.Refuse(v1alpha1.ReasonRecipientNotFound, "user %d does not exist in TeamTalk", id)
		}
	}
	return nil
}

// readGroup returns the group of a change, or nil if TeamTalk does not show it. reduce drops what is not needed.
func readGroup(
	ctx context.Context, session *connection.Session, c dbproxy.MemberChange, reduce func(*wire.GroupInfo),
) (*wire.GroupInfo, error) {
	path, done, err := session.Path()
	if err != nil {
		return nil, err
	}
	defer done()
	groups, err := path.Groups(ctx, c.By, []uint32{c.Group}, reduce)
	return groups[c.Group], err
}

// dropOthers keeps of the group's members those of the change, and one other: an empty list proves nothing. A group may
// have 80,000 members, and many requests wait at the same time.
func dropOthers(c dbproxy.MemberChange, g *wire.GroupInfo) {
	var kept []uint32
	changed, hasOther := sets.New(c.Members...), false
	for _, id := range g.GetGroupMemberList() {
		if isOther := !changed.Has(id); !isOther || !hasOther {
			hasOther, kept = hasOther || isOther, append(kept, id)
		}
	}
	g.GroupMemberList = kept
}

// isDone reports whether a group shows a change.
func isDone(c dbproxy.MemberChange, g *wire.GroupInfo) bool {
	missing := sets.New(c.Members...)
	changed := missing.Len()
	missing.Delete(g.GetGroupMemberList()...)
	if c.Remove {
		return missing.Len() == changed
	}
	return missing.Len() == 0
}

// pollMembers reads the group of a change until it shows the change and the name, if there is one. It returns the
// group's members.
func pollMembers(
	ctx context.Context, session *connection.Session, c dbproxy.MemberChange, name string,
) (members []uint32, shown bool) {
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		// Only the members of a group that shows the change are announced.
		g, err := readGroup(ctx, session, c, func(g *wire.GroupInfo) {
			if !isDone(c, g) {
				dropOthers(c, g)
			}
		})
		members = g.GetGroupMemberList()
		return err == nil && g != nil && isDone(c, g) && (name == "" || g.GetGroupName() == name), nil
	})
	return members, err == nil
}

// announce notifies clients of a change, which is done even if that fails.
func announce(
	ctx context.Context, session *connection.Session, c dbproxy.MemberChange, m dbproxy.Membership,
) api.GroupResult {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), announceTimeout)
	defer cancel()
	r := api.GroupResult{Group: c.Group}
	if session.Announce(ctx, c, m) != nil {
		r.Detail = "done, but no router has announced it: clients see it at their next sync"
	}
	return r
}

// groupError describes the outcome after an error of db_proxy.
func groupError(err error) error {
	switch {
	case errors.Is(err, dbproxy.ErrRefused):
		return api.Refuse(v1alpha1.ReasonStoreRejected, "db_proxy refused the change: nothing was changed")
	case errors.Is(err, dbproxy.ErrNotSent):
		return api.Refuse(v1alpha1.ReasonNoAnswer, "the request was not sent to db_proxy in time: nothing was changed")
	}
	return api.Refuse(v1alpha1.ReasonOutcomeUnknown,
		"db_proxy did not answer in time: the change may have been made, check before you retry")
}
