// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
)

// User is a user's record.
type User = store.User

// Group is a group with its members.
type Group = store.GroupInfo

// Seed is the content of a new database.
type Seed struct {
	Users  []User
	Groups []Group
	// Online are the users that the router reports as online.
	Online []uint32
}

func (s Seed) empty() bool { return len(s.Users) == 0 && len(s.Groups) == 0 && len(s.Online) == 0 }

// NewUser returns a record such as TeamTalk's web console would write.
func NewUser(id uint32, nick, name string) User {
	return User{
		ID: id, Gender: 1, Nick: nick, Department: 1, Email: name + "@example.com",
		Name: name, Tel: fmt.Sprintf("1380000%04d", id%10000), Domain: name, Status: 2,
	}
}

// firstColleague is the id of the first user that WithColleagues adds.
const firstColleague = 100_001

// WithColleagues adds users with the login names colleague1 and so on.
func (s Seed) WithColleagues(n int) Seed {
	s.Users = slices.Clip(s.Users)
	for i := range n {
		name := fmt.Sprintf("colleague%d", i+1)
		s.Users = append(s.Users, NewUser(uint32(firstColleague+i), name, name))
	}
	return s
}

// DefaultSeed is a small company: two senders, ten people, and two groups.
func DefaultSeed() Seed {
	people := []struct{ nick, name string }{
		{"ops-bot", "ops-bot"},
		{"release-bot", "release-bot"},
		{"陈晓雨", "chenxiaoyu"},
		{"Anna Keller", "anna.keller"},
		{"王志强", "wangzhiqiang"},
		{"Mateo Rossi", "mateo.rossi"},
		{"李思涵", "lisihan"},
		{"Priya Nair", "priya.nair"},
		{"张伟", "zhangwei"},
		{"Sofia Lindqvist", "sofia.lindqvist"},
		{"刘洋", "liuyang"},
		{"Tomás Herrera", "tomas.herrera"},
	}
	var seed Seed
	var everyone []uint32
	for i, p := range people {
		id := uint32(i + 1)
		seed.Users = append(seed.Users, NewUser(id, p.nick, p.name))
		everyone = append(everyone, id)
	}
	seed.Groups = []Group{
		{ID: 7, Name: "oncall", Members: []uint32{1, 2, 3}},
		{ID: 8, Name: "everyone", Members: everyone},
	}
	seed.Online = []uint32{3, 4, 7}
	return seed
}

// apply fills an empty database. Seeded members have been there for ever, so
// that no clock hides a message from them.
func (s Seed) apply(db *store.Store) error {
	empty, err := db.Empty()
	if err != nil || !empty {
		return err
	}
	errs := []error{db.AddUsers(s.Users...)}
	for _, g := range s.Groups {
		_, err := db.AddGroup(g, time.Unix(0, 0))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
