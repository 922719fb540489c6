// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// target is the TeamTalk that messages are sent through.
type target struct {
	dbProxy, router string
	sender          uint32
	users, groups   []uint32
	// crowd has users for messages to many, see gather.
	crowd []uint32
	// keys decrypt the stored messages. The first one is in the Secret.
	keys []string
	// patience is how long an answer to the counting reads may take before they are repeated.
	patience time.Duration
	// dev is nil for the user's own TeamTalk.
	dev *devserver.Server
}

// These are the sizes of a scenario's TeamTalk, if the user has none. Messages to different users do not wait for
// each other.
const (
	devUsers  = 120
	devGroups = 40
	devCrowd  = v1alpha1.MaxRecipients
)

// ownTarget reads the variables of the user's own TeamTalk. It returns nil if there is none.
func ownTarget(getenv func(string) string) (*target, error) {
	own, err := framework.ReadOwnTeamTalk(getenv)
	switch {
	case own == nil || err != nil:
		return nil, err
	case len(own.Users) == 0 || len(own.Groups) == 0:
		return nil, errors.New("USERS and GROUPS: want comma-separated ids, at least one user and one group that has the " +
			"sender as a member")
	case own.Key == nil:
		return nil, errors.New("AES_KEY_FILE: want a file with the AES key")
	}
	return &target{dbProxy: own.DBProxy, router: own.Router, sender: own.Sender, users: own.Users, groups: own.Groups,
		keys: []string{string(own.Key)}, patience: patience}, nil
}

// patience is how long a db_proxy without a hanging thread may take to answer.
const patience = 3 * time.Second

// ownTurn gives each scenario another sender among the users who are members of all groups. So messages of earlier
// scenarios, under keys that later ones do not have, are in other conversations.
func (w *world) ownTurn(ctx context.Context, turn int) {
	w.direct(ctx, func(ctx context.Context, db *dbproxy.Client) {
		groups := untilAnswered(ctx, func() (map[uint32]*wire.GroupInfo, error) {
			return db.Groups(ctx, w.sender, w.groups, nil)
		})
		w.rotate(turn, func(user, group uint32) bool {
			return slices.Contains(groups[group].GetGroupMemberList(), user)
		})
	})
}

// rotate makes one of the users the sender, and the sender one of the users.
func (t *target) rotate(turn int, isMember func(user, group uint32) bool) {
	all := append([]uint32{t.sender}, t.users...)
	senders := slices.DeleteFunc(slices.Clone(all), func(user uint32) bool {
		return user != t.sender && slices.ContainsFunc(t.groups, func(group uint32) bool { return !isMember(user, group) })
	})
	t.sender = senders[turn%len(senders)]
	t.users = slices.DeleteFunc(all, func(user uint32) bool { return user == t.sender })
}

func devTarget(ctx context.Context) *target {
	t := &target{sender: 1, keys: []string{devserver.DevelopmentKey}, patience: patience}
	seed := devserver.Seed{Users: []devserver.User{devserver.NewUser(1, "bot", "bot")}}
	for i := range uint32(devUsers) {
		t.users = append(t.users, 100+i)
		seed.Users = append(seed.Users, framework.User(100+i))
	}
	for i := range uint32(devGroups) {
		t.groups = append(t.groups, 1+i)
		seed.Groups = append(seed.Groups,
			devserver.Group{ID: 1 + i, Name: fmt.Sprint("group", 1+i), Members: []uint32{1, 100, 101}})
	}
	t.dev = framework.MustGet(framework.StartTeamTalk(ctx, func(o *devserver.Options) {
		o.Seed, o.FaultSeed = seed, uint64(time.Now().UnixNano())
	}))
	t.dbProxy, t.router = t.dev.DBProxyAddr(), t.dev.RouterAddr()
	return t
}

// gather adds a crowd: users of the teamtalk-dev, or the user's own.
func (t *target) gather() {
	if t.dev == nil {
		t.crowd = t.users
		return
	}
	for i := range uint32(devCrowd) {
		t.crowd = append(t.crowd, 10_000+i)
		framework.Must(t.dev.AddUser(framework.User(10_000 + i)))
	}
}
