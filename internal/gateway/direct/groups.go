package direct

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

const (
	// groupPatience bounds a change of a group as a whole: callers are answered in
	// time.
	groupPatience = 2500 * time.Millisecond
	// lookAgain is how long a group that does not show a change yet is given.
	lookAgain = 100 * time.Millisecond
	// routePatience bounds the announcement, once the change itself is done.
	routePatience = 300 * time.Millisecond
	// mayBeDone is said of a change that was not answered.
	mayBeDone = "db_proxy did not answer in time: it may be done all the same, look before you try again"
)

// CreateGroup implements api.Groups. TeamTalk knows no key for a group: what is not
// answered may have been created.
func (s *Sender) CreateGroup(ctx context.Context, n api.NewGroup) (api.GroupResult, error) {
	ctx, cancel := context.WithTimeout(ctx, groupPatience)
	defer cancel()
	session, err := s.actor(ctx, n.Namespace, n.Server, n.By)
	if err != nil {
		return api.GroupResult{}, err
	}
	g := dbproxy.NewGroup{By: uint32(n.By), Temporary: n.Temporary, Name: n.Name, Avatar: n.Avatar, Members: wire(n.Members)}
	if refusal := missing(ctx, session, g.By, g.Members); refusal != "" {
		return api.GroupResult{Detail: refusal}, nil
	}
	id, err := session.CreateGroup(ctx, g)
	if err != nil {
		return api.GroupResult{Detail: failure(err)}, nil
	}
	current, shown := groupIs(ctx, session, g.By, id, func(name string, now []uint32) bool {
		return name == g.Name && containsAll(now, g.Members)
	})
	if !shown {
		return api.GroupResult{Group: int64(id), Detail: fmt.Sprintf(
			"db_proxy answered with group %d, and does not show it as it was asked for: it may have been created, look before you try again", id)}, nil
	}
	change := dbproxy.MemberChange{By: g.By, Group: id, Members: g.Members}
	return announce(ctx, session, change, dbproxy.Membership{Current: current, Changed: g.Members}), nil
}

// ChangeMembers implements api.Groups. It may be tried again: what is so already is
// done.
func (s *Sender) ChangeMembers(ctx context.Context, n api.MemberChange) (api.GroupResult, error) {
	ctx, cancel := context.WithTimeout(ctx, groupPatience)
	defer cancel()
	session, err := s.actor(ctx, n.Namespace, n.Server, n.By)
	if err != nil {
		return api.GroupResult{}, err
	}
	c := dbproxy.MemberChange{By: uint32(n.By), Group: uint32(n.Group), Remove: n.Remove, Members: wire(n.Members)}
	path, err := session.Path()
	if err != nil {
		return api.GroupResult{Detail: failure(err)}, nil
	}
	groups, err := path.Groups(ctx, c.By, []uint32{c.Group})
	switch {
	case err != nil:
		return api.GroupResult{Detail: failure(err)}, nil
	case groups[c.Group] == nil:
		// db_proxy would not answer.
		return api.GroupResult{Detail: fmt.Sprintf("group %d does not exist in TeamTalk, or its database is down", c.Group)}, nil
	}
	done := func(now []uint32) bool {
		if c.Remove {
			return !slices.ContainsFunc(c.Members, func(id uint32) bool { return slices.Contains(now, id) })
		}
		return containsAll(now, c.Members)
	}
	if before := groups[c.Group].GetGroupMemberList(); len(before) > 0 && done(before) {
		return api.GroupResult{Done: true, Group: n.Group, Detail: "nothing to change: it was so already"}, nil
	}
	if !c.Remove {
		if refusal := missing(ctx, session, c.By, c.Members); refusal != "" {
			return api.GroupResult{Detail: refusal}, nil
		}
	}
	membership, err := session.ChangeMembers(ctx, c)
	if err != nil {
		return api.GroupResult{Detail: failure(err)}, nil
	}
	current, shown := groupIs(ctx, session, c.By, c.Group, func(_ string, now []uint32) bool { return done(now) })
	if !shown {
		return api.GroupResult{Detail: "db_proxy says that it is done, and the group does not show it: look before you try again"}, nil
	}
	if len(membership.Changed) == 0 {
		return api.GroupResult{Done: true, Group: n.Group, Detail: "nothing to change: it was so already"}, nil
	}
	membership.Current = current
	return announce(ctx, session, c, membership), nil
}

// actor returns the session through which a user may act.
func (s *Sender) actor(ctx context.Context, namespace, name string, by int64) (*connection.Session, error) {
	server, session, err := s.servers.session(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	if !server.Spec.Senders.Permits(v1alpha1.UserID(by)) {
		return nil, &api.Refusal{Reason: v1alpha1.ReasonSenderNotPermitted, Detail: fmt.Sprintf(
			"nobody may act as user %d: use one of the server's senders, or ask its owner to allow it", by)}
	}
	if err := session.WaitReady(ctx); err != nil {
		return nil, &api.Refusal{Reason: v1alpha1.ReasonServerNotReady, Detail: "db_proxy is not connected"}
	}
	return session, nil
}

// missing says who does not exist of those who act or are to be members: db_proxy
// would take them all the same.
func missing(ctx context.Context, session *connection.Session, by uint32, members []uint32) string {
	path, err := session.Path()
	if err != nil {
		return failure(err)
	}
	users, err := path.Users(ctx, by, append([]uint32{by}, members...))
	switch {
	case err != nil:
		return failure(err)
	case len(users) == 0:
		return "TeamTalk shows none of the users; its database may be down"
	}
	for _, id := range append([]uint32{by}, members...) {
		if users[id] == nil {
			return fmt.Sprintf("user %d does not exist in TeamTalk", id)
		}
	}
	return ""
}

// groupIs reads a group until its name and members are as wanted, and returns the members.
func groupIs(ctx context.Context, session *connection.Session, by, group uint32, wanted func(name string, members []uint32) bool) ([]uint32, bool) {
	for {
		if path, err := session.Path(); err == nil {
			groups, err := path.Groups(ctx, by, []uint32{group})
			if g := groups[group]; err == nil && g != nil && wanted(g.GetGroupName(), g.GetGroupMemberList()) {
				return g.GetGroupMemberList(), true
			}
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, false
		}
	}
}

// announce tells clients of what was done, which it is whether or not they are told.
func announce(ctx context.Context, session *connection.Session, c dbproxy.MemberChange, m dbproxy.Membership) api.GroupResult {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), routePatience)
	defer cancel()
	r := api.GroupResult{Done: true, Group: int64(c.Group)}
	if session.Announce(ctx, c, m) != nil {
		r.Detail = "done, but no router has announced it: clients see it at their next sync"
	}
	return r
}

// failure says why nothing is known to be done.
func failure(err error) string {
	switch {
	case errors.Is(err, dbproxy.ErrRefused):
		return "db_proxy refused it: nothing was changed"
	case errors.Is(err, dbproxy.ErrNotSent):
		return "db_proxy could not be asked in time: nothing was changed"
	}
	return mayBeDone
}

func containsAll(all, some []uint32) bool {
	for _, id := range some {
		if !slices.Contains(all, id) {
			return false
		}
	}
	return true
}

func wire(ids []int64) []uint32 {
	out := make([]uint32, len(ids))
	for i, id := range ids {
		out[i] = uint32(id)
	}
	return out
}
