// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// CreateGroup is dbproxy.Client.CreateGroup.
func (s *Session) CreateGroup(ctx context.Context, g dbproxy.NewGroup) (uint32, error) {
	return request(s, func() (uint32, error) { return s.client().CreateGroup(ctx, g) })
}

// ChangeMembers is dbproxy.Client.ChangeMembers.
func (s *Session) ChangeMembers(ctx context.Context, c dbproxy.MemberChange) (dbproxy.Membership, error) {
	return request(s, func() (dbproxy.Membership, error) { return s.client().ChangeMembers(ctx, c) })
}

// Announce announces a change of a group, as Route does for a message.
func (s *Session) Announce(ctx context.Context, c dbproxy.MemberChange, m dbproxy.Membership) error {
	return s.announce(func(r *router.Client) error { return r.Announce(ctx, c, m) })
}
