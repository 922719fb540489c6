// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// target is the TeamTalk that messages are sent through.
type target struct {
	dbProxy, router string
	sender          uint32
	users, groups   []uint32
	// crowd are users for messages to many; see gather.
	crowd []uint32
	// keys open what is stored; the first is the one in the Secret.
	keys []string
	// dev is nil for a TeamTalk of the user's own.
	dev *devserver.Server
}

// Sizes of the TeamTalk that a scenario gets where the user has none: messages to
// different people do not wait for each other.
const (
	devUsers  = 120
	devGroups = 40
	devCrowd  = v1alpha1.MaxRecipients
)

// ownTarget reads which TeamTalk of the user's own is meant; nil: none.
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
		keys: []string{string(own.Key)}}, nil
}

func devTarget(ctx context.Context) *target {
	t := &target{sender: 1, keys: []string{devserver.DevelopmentKey}}
	seed := devserver.Seed{Users: []devserver.User{devserver.NewUser(1, "bot", "bot")}}
	for i := range uint32(devUsers) {
		t.users = append(t.users, 100+i)
		seed.Users = append(seed.Users, framework.User(100+i))
	}
	for i := range uint32(devGroups) {
		t.groups = append(t.groups, 1+i)
		seed.Groups = append(seed.Groups,
			devserver.Group{ID: 1 + i, Name: fmt.Sprint("group", i), Members: []uint32{1, 100, 101}})
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
