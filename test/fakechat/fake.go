// SPDX-License-Identifier: Apache-2.0

// Package fakechat is a TeamTalk in memory, for unit tests of packages that manage groups.
//
// New returns a TeamTalk, whose fields a test sets.
package fakechat

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// ErrNotSent is the error of requests while nothing is connected.
var ErrNotSent = fmt.Errorf("%w: %w", dbproxy.ErrNotSent, dbproxy.ErrNotConnected)

// Group is a group.
type Group struct {
	Creator      uint32
	Name, Avatar string
	Members      []uint32
	// Shown is from when reads show it.
	Shown time.Time
}

// Announced is an announcement of a change.
type Announced struct {
	dbproxy.MemberChange
	dbproxy.Membership
}

// Outcome is what becomes of a change.
type Outcome struct {
	// Lost: it is not executed. Later: it is executed after so long.
	Lost  bool
	Later time.Duration
	// Err is the client's.
	Err error
}

// TeamTalk does what a test says. Its methods may be called from any goroutine, its fields not.
type TeamTalk struct {
	mu sync.Mutex
	// Users are the statuses of the users.
	Users map[uint32]uint32
	// Names are their login names.
	Names  map[uint32]string
	Groups map[uint32]*Group
	// Sessions are the groups of the recent sessions of every user.
	Sessions []uint32
	// Down: nothing is connected. NoRouter: no router is. Unlisted: the groups of a user are not listed. Flushed: groups
	// have no members.
	Down, NoRouter, Unlisted, Flushed bool
	// Lag is how long reads do not show a new group.
	Lag time.Duration
	// Outcomes are those of the first changes; later ones are executed and answered.
	Outcomes []Outcome
	// OnChange, if set, is called before a change is executed.
	OnChange func()
	// Reads counts reads by name.
	Reads map[string]int
	// Created counts requests to create a group, and Changes are those to change members.
	Created   int
	Changes   []dbproxy.MemberChange
	Announced []Announced
}

// New returns a TeamTalk with users.
func New(users ...uint32) *TeamTalk {
	f := &TeamTalk{Users: map[uint32]uint32{}, Groups: map[uint32]*Group{}, Reads: map[string]int{}}
	for _, id := range users {
		f.Users[id] = 0
	}
	return f
}

// Members returns the members of a group.
func (f *TeamTalk) Members(id uint32) []uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.Groups[id]; g != nil {
		return slices.Sorted(slices.Values(g.Members))
	}
	return nil
}

// Path returns the reads.
func (f *TeamTalk) Path() (dbproxy.Reads, func(), error) {
	if f.Down {
		return nil, nil, ErrNotSent
	}
	return &reads{TeamTalk: f}, func() {}, nil
}

// Edit changes what it holds while it may be asked.
func (f *TeamTalk) Edit(edit func(*TeamTalk)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(f)
}

// WaitReady does not wait.
func (f *TeamTalk) WaitReady(ctx context.Context) error {
	if f.Down {
		return context.Canceled
	}
	return nil
}

// reads are those of a TeamTalk. Those of messages are not needed.
type reads struct {
	dbproxy.MessageReads
	*TeamTalk
}

func (f *reads) begin(name string) func() {
	f.mu.Lock()
	f.Reads[name]++
	return f.mu.Unlock
}

func (f *reads) Users(_ context.Context, _ uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	defer f.begin("users")()
	found := map[uint32]*wire.UserInfo{}
	for _, id := range ids {
		if status, ok := f.TeamTalk.Users[id]; ok {
			found[id] = &wire.UserInfo{UserId: &id, Status: &status, UserRealName: new(f.Names[id])}
		}
	}
	return found, nil
}

func (f *reads) Groups(_ context.Context, _ uint32, ids []uint32, reduce func(*wire.GroupInfo)) (
	map[uint32]*wire.GroupInfo, error,
) {
	defer f.begin("groups")()
	found := map[uint32]*wire.GroupInfo{}
	for _, id := range ids {
		g := f.TeamTalk.Groups[id]
		if g == nil || time.Now().Before(g.Shown) {
			continue
		}
		found[id] = &wire.GroupInfo{
			GroupId: &id, GroupCreatorId: &g.Creator, GroupName: &g.Name, GroupAvatar: &g.Avatar,
			GroupMemberList: slices.Clone(g.Members),
		}
		if f.Flushed {
			found[id].GroupMemberList = nil
		}
		if reduce != nil {
			reduce(found[id])
		}
	}
	return found, nil
}

// ScanUsers implements dbproxy.Reads.
func (f *reads) ScanUsers(_ context.Context, _ uint32, to dbproxy.UserScanner) error {
	defer f.begin("all users")()
	to.Begin()
	for id, name := range f.Names {
		if status, ok := f.TeamTalk.Users[id]; ok && status != wire.UserStatusDeparted {
			to.User(id, []byte(name))
		}
	}
	return nil
}

func (f *reads) GroupsOf(_ context.Context, user uint32) (ids []uint32, err error) {
	defer f.begin("groups of user")()
	for id, g := range f.TeamTalk.Groups {
		if slices.Contains(g.Members, user) && !f.Unlisted && !time.Now().Before(g.Shown) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func (f *reads) RecentSessions(context.Context, uint32) (sessions []*wire.ContactSessionInfo, err error) {
	defer f.begin("sessions")()
	for _, id := range f.Sessions {
		sessions = append(sessions, &wire.ContactSessionInfo{
			SessionId: &id, SessionType: wire.SessionType_SESSION_TYPE_GROUP.Enum(), UpdatedTime: proto.Uint32(1),
		})
	}
	return sessions, nil
}

// execute executes a change as the next outcome says.
func (f *TeamTalk) execute(n int, do func()) error {
	if f.OnChange != nil {
		f.OnChange()
	}
	var o Outcome
	if n < len(f.Outcomes) {
		o = f.Outcomes[n]
	}
	switch {
	case o.Later > 0:
		time.AfterFunc(o.Later, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			do()
		})
	case !o.Lost:
		do()
	}
	return o.Err
}

// CreateGroup creates a group.
func (f *TeamTalk) CreateGroup(_, _ context.Context, g dbproxy.NewGroup) (id uint32, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Created++
	err = f.execute(f.Created+len(f.Changes)-1, func() {
		for other := range f.Groups {
			id = max(id, other)
		}
		id++
		f.Groups[id] = &Group{
			Creator: g.By, Name: g.Name, Avatar: g.Avatar, Members: slices.Clone(g.Members), Shown: time.Now().Add(f.Lag),
		}
	})
	return id, err
}

// ChangeMembers changes members.
func (f *TeamTalk) ChangeMembers(_, _ context.Context, c dbproxy.MemberChange) (m dbproxy.Membership, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Changes = append(f.Changes, c)
	err = f.execute(f.Created+len(f.Changes)-1, func() {
		g := f.Groups[c.Group]
		g.Members = slices.DeleteFunc(g.Members, func(id uint32) bool { return slices.Contains(c.Members, id) })
		if !c.Remove {
			g.Members = append(g.Members, c.Members...)
		}
		m = dbproxy.Membership{Current: slices.Clone(g.Members), Changed: c.Members}
	})
	return m, err
}

// Announce announces a change.
func (f *TeamTalk) Announce(_ context.Context, c dbproxy.MemberChange, m dbproxy.Membership) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.NoRouter {
		return ErrNotSent
	}
	f.Announced = append(f.Announced, Announced{c, m})
	return nil
}
