// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
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
func ownTarget(env func(string) string) (*target, error) {
	if env("DB_PROXY") == "" && env("ROUTER") == "" {
		return nil, nil
	}
	t := &target{dbProxy: env("DB_PROXY"), router: env("ROUTER")}
	if t.dbProxy == "" || t.router == "" {
		return nil, fmt.Errorf("DB_PROXY and ROUTER go together: each is host:port")
	}
	sender, err := ids("SENDER", env("SENDER"))
	if err != nil {
		return nil, err
	}
	if len(sender) != 1 {
		return nil, fmt.Errorf("SENDER: want one user id")
	}
	t.sender = sender[0]
	if t.users, err = ids("USERS", env("USERS")); err != nil {
		return nil, err
	}
	if t.groups, err = ids("GROUPS", env("GROUPS")); err != nil {
		return nil, err
	}
	if len(t.users) == 0 || len(t.groups) == 0 {
		return nil, fmt.Errorf("USERS and GROUPS: want comma-separated ids, at least one user and one group that has the " +
			"sender as a member")
	}
	key, err := os.ReadFile(env("AES_KEY_FILE"))
	if err != nil {
		return nil, fmt.Errorf("AES_KEY_FILE: %w", err)
	}
	if key := strings.TrimRight(string(key), "\r\n"); len(key) == cipher.KeyLen {
		t.keys = []string{key}
		return t, nil
	}
	return nil, fmt.Errorf("AES_KEY_FILE: want %d bytes", cipher.KeyLen)
}

func ids(name, list string) ([]uint32, error) {
	var all []uint32
	for id := range strings.SplitSeq(list, ",") {
		if id = strings.TrimSpace(id); id == "" {
			continue
		}
		n, err := strconv.ParseUint(id, 10, 31)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%s: %q is no id", name, id)
		}
		all = append(all, uint32(n))
	}
	return all, nil
}

// devTarget starts a teamtalk-dev.
func devTarget(ctx context.Context) (*target, error) {
	t := &target{sender: 1, keys: []string{devserver.DevelopmentKey}}
	seed := devserver.Seed{Users: []devserver.User{devserver.NewUser(1, "bot", "bot")}}
	for i := range uint32(devUsers) {
		id := 100 + i
		t.users = append(t.users, id)
		seed.Users = append(seed.Users, devserver.NewUser(id, fmt.Sprint("nick", id), fmt.Sprint("user", id)))
	}
	for i := range uint32(devGroups) {
		t.groups = append(t.groups, 1+i)
		seed.Groups = append(seed.Groups,
			devserver.Group{ID: 1 + i, Name: fmt.Sprint("group", i), Members: []uint32{1, 100, 101}})
	}
	dev, err := devserver.Start(ctx, devserver.Options{
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0", Seed: seed,
		FaultSeed: uint64(time.Now().UnixNano()),
	})
	if err != nil {
		return nil, err
	}
	t.dev, t.dbProxy, t.router = dev, dev.DBProxyAddr(), dev.RouterAddr()
	return t, nil
}

// gather has a crowd be there: of a teamtalk-dev's own, or the user's own users.
func (t *target) gather() error {
	if t.dev == nil {
		t.crowd = t.users
		return nil
	}
	for i := range uint32(devCrowd) {
		id := 10_000 + i
		t.crowd = append(t.crowd, id)
		if err := t.dev.AddUser(devserver.NewUser(id, fmt.Sprint("nick", id), fmt.Sprint("user", id))); err != nil {
			return err
		}
	}
	return nil
}
