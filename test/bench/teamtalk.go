// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// teamtalk is where messages go: one of the user's own, or teamtalk-dev.
type teamtalk struct {
	dbProxy, router string
	// process is teamtalk-dev's, or nil.
	process *framework.Process
}

// startTeamTalk runs teamtalk-dev, unless the user has named a TeamTalk. It is a
// process of its own, so that nothing of its work passes for the operator's or
// the bench's; its users are put into its database beforehand.
func startTeamTalk(ctx context.Context, dir string, o options, latency time.Duration,
	log *framework.Log) (*teamtalk, error) {
	if o.foreign() {
		return &teamtalk{dbProxy: o.dbProxy, router: o.router}, nil
	}
	database := filepath.Join(dir, "teamtalk.db")
	if err := seed(ctx, database, o); err != nil {
		return nil, fmt.Errorf("fill teamtalk-dev's database: %w", err)
	}
	binary, err := framework.Build(ctx, "teamtalk-dev", dir)
	if err != nil {
		return nil, err
	}
	addresses, err := framework.FreeAddresses(3)
	if err != nil {
		return nil, err
	}
	t := &teamtalk{dbProxy: addresses[0], router: addresses[1]}
	t.process, err = framework.Start(binary, log, "--database", database,
		"--db-proxy-address", t.dbProxy, "--router-address", t.router, "--inbox-address", addresses[2],
		"--latency", latency.String())
	return t, err
}

// stop ends teamtalk-dev; a TeamTalk of the user's own goes on.
func (t *teamtalk) stop() {
	if t.process != nil {
		t.process.Kill()
	}
}

// seed fills a database with the users and the group that messages go to.
func seed(ctx context.Context, database string, o options) error {
	user := func(id uint32) devserver.User {
		return devserver.NewUser(id, fmt.Sprintf("nick%d", id), fmt.Sprintf("user%d", id))
	}
	all := devserver.Seed{Users: []devserver.User{user(o.sender)}}
	for _, id := range o.users {
		all.Users = append(all.Users, user(id))
	}
	members := append([]uint32{o.sender}, o.users[:devMembers]...)
	all.Groups = []devserver.Group{{ID: devGroup, Name: "bench", Members: members}}
	s, err := devserver.Start(ctx, devserver.Options{
		Database: database, Seed: all,
		DBProxyAddress: "127.0.0.1:0", RouterAddress: "127.0.0.1:0", InboxAddress: "127.0.0.1:0",
	})
	if err != nil {
		return err
	}
	s.Stop()
	return nil
}
