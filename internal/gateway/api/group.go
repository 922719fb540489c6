// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// Groups changes groups. It returns a Refusal for what is not done, or may not be.
type Groups interface {
	CreateGroup(ctx context.Context, g NewGroup) (GroupResult, error)
	ChangeMembers(ctx context.Context, c MemberChange) (GroupResult, error)
}

// NewGroup is a group to be created.
type NewGroup struct {
	Namespace, Server string
	dbproxy.NewGroup
}

// MemberChange is a change of the members of a group.
type MemberChange struct {
	Namespace, Server string
	dbproxy.MemberChange
}

// GroupResult is the result of a change that is done.
type GroupResult struct {
	Group uint32
	// Detail says in one line what failed besides.
	Detail string
}
