package connection

import (
	"context"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// CreateGroup is dbproxy.Client.CreateGroup through one of the session's db_proxy
// servers.
func (s *Session) CreateGroup(ctx context.Context, g dbproxy.NewGroup) (uint32, error) {
	return request(s, func() (uint32, error) { return s.client().CreateGroup(ctx, g) })
}

// ChangeMembers is dbproxy.Client.ChangeMembers through one of the session's db_proxy
// servers.
func (s *Session) ChangeMembers(ctx context.Context, c dbproxy.MemberChange) (dbproxy.Membership, error) {
	return request(s, func() (dbproxy.Membership, error) { return s.client().ChangeMembers(ctx, c) })
}

// Announce hands a change of a group to one router, as Route does a message.
func (s *Session) Announce(ctx context.Context, c dbproxy.MemberChange, m dbproxy.Membership) error {
	return s.toRouter(func(r *router.Client) error { return r.Announce(ctx, c, m) })
}
