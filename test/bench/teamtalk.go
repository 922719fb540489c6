// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// teamtalk is where messages go: one of the user's own, or teamtalk-dev.
type teamtalk struct{ dbProxy, router string }

// startTeamTalk runs teamtalk-dev, unless the user has named a TeamTalk: in a process of its own, so that its
// work does not count as the operator's or the bench's.
func (w *world) startTeamTalk(ctx context.Context) *teamtalk {
	if own := w.o.own; own != nil {
		return &teamtalk{dbProxy: own.DBProxy, router: own.Router}
	}
	database := filepath.Join(w.dir, "teamtalk.db")
	seed(ctx, database, w.o)
	binary := framework.MustGet(framework.Build(ctx, "teamtalk-dev", w.dir))
	addresses := framework.MustGet(framework.FreeAddresses(3))
	t := &teamtalk{dbProxy: addresses[0], router: addresses[1]}
	process := framework.MustGet(framework.Start(binary, w.log, "--database", database,
		"--db-proxy-address", t.dbProxy, "--router-address", t.router, "--inbox-address", addresses[2],
		"--latency", w.latency.String()))
	w.Cleanup(process.Kill)
	return t
}

// seed fills a database with the users and the group that messages go to.
func seed(ctx context.Context, database string, o options) {
	all := devserver.Seed{Users: []devserver.User{framework.User(o.sender)}}
	for _, id := range o.users {
		all.Users = append(all.Users, framework.User(id))
	}
	members := append([]uint32{o.sender}, o.users[:devMembers]...)
	all.Groups = []devserver.Group{{ID: devGroup, Name: "bench", Members: members}}
	s, err := framework.StartTeamTalk(ctx, func(options *devserver.Options) {
		options.Database, options.Seed = database, all
	})
	framework.Mustf(err, "fill teamtalk-dev's database")
	s.Stop()
}
