// SPDX-License-Identifier: Apache-2.0

package chatgroup

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/fakechat"
)

const (
	bot   = 1
	alice = 3
)

func newClient(f *fakechat.TeamTalk) *Client {
	return &Client{TeamTalk: f, Namespace: "team", User: bot}
}

// TestFind: a search finds the group with the mark, or says why the answer proves nothing.
func TestFind(t *testing.T) {
	group := func(creator uint32, avatar string, members ...uint32) *fakechat.Group {
		return &fakechat.Group{Creator: creator, Avatar: avatar, Members: members}
	}
	tests := map[string]struct {
		talk      func(*fakechat.TeamTalk)
		known     uint32
		creator   uint32
		want      uint32
		wantDoubt string // a part; "": none
		wantErr   error
	}{
		"an empty TeamTalk": {},
		"without the mark":  {talk: func(f *fakechat.TeamTalk) { f.Groups[7] = group(bot, "", bot) }},
		"marked":            {talk: func(f *fakechat.TeamTalk) { f.Groups[7] = group(bot, "#mark", bot) }, want: 7},
		"among many": {
			talk: func(f *fakechat.TeamTalk) {
				for id := range uint32(95) {
					f.Groups[id+1] = group(bot, "", bot)
				}
				f.Groups[30].Avatar = "https://a.example/#mark"
			},
			want: 30,
		},
		"an earlier sender's": {talk: func(f *fakechat.TeamTalk) { f.Groups[7] = group(alice, "#mark", alice) }, creator: alice, want: 7},
		"another user's, and not an earlier sender's": {
			talk: func(f *fakechat.TeamTalk) { f.Groups[7] = group(bot, "#mark", alice, bot) }, creator: alice,
		},
		"an earlier sender's, beside a known one": {talk: func(f *fakechat.TeamTalk) {
			f.Groups[6], f.Groups[7] = group(bot, "", bot), group(alice, "#mark", alice)
		}, creator: alice, known: 6, want: 7},
		"an earlier sender's, without a known one": {
			talk: func(f *fakechat.TeamTalk) { f.Groups[6] = group(bot, "", alice) }, creator: alice, known: 6,
			wantDoubt: "user 1 is in group 6, which is known",
		},
		"an earlier sender's, not listed": {
			talk: func(f *fakechat.TeamTalk) {
				f.Groups[7], f.Unlisted, f.Sessions = group(alice, "", alice), true, []uint32{9, 7}
			},
			creator: alice, wantDoubt: "lists no groups of user 3, who is a member of group 7",
		},
		"another user's mark": {talk: func(f *fakechat.TeamTalk) { f.Groups[7] = group(alice, "#mark", bot) }},
		"known":               {talk: func(f *fakechat.TeamTalk) { f.Groups[7] = group(bot, "", bot) }, known: 7},
		"known, not shown":    {talk: func(f *fakechat.TeamTalk) { f.Groups[6] = group(bot, "", bot) }, known: 7, wantDoubt: "group 7, which is known"},
		"no list":             {talk: func(f *fakechat.TeamTalk) { f.Groups[7], f.Unlisted = group(bot, "", bot), true }, known: 7, wantDoubt: "group 7"},
		"no list, but the user is in a group": {
			talk: func(f *fakechat.TeamTalk) {
				f.Groups[7], f.Unlisted, f.Sessions = group(alice, "", bot), true, []uint32{9, 7}
			},
			wantDoubt: "member of group 7",
		},
		"an outage":   {talk: func(f *fakechat.TeamTalk) { f.Users = nil }, wantErr: ErrOutage},
		"no db_proxy": {talk: func(f *fakechat.TeamTalk) { f.Down = true }, wantErr: dbproxy.ErrNotSent},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			f := fakechat.New(bot, alice)
			if tc.talk != nil {
				tc.talk(f)
			}
			found, err := newClient(f).Find(t.Context(), Search{
				IsMarked: func(avatar string) bool { return strings.HasSuffix(avatar, "#mark") }, Known: tc.known,
				Creator: tc.creator,
			})
			if !errors.Is(err, tc.wantErr) || found.Group != tc.want {
				t.Errorf("found %d, %v; want %d, %v", found.Group, err, tc.want, tc.wantErr)
			}
			if (found.Doubt == "") != (tc.wantDoubt == "") || !strings.Contains(found.Doubt, tc.wantDoubt) {
				t.Errorf("doubt %q, want %q", found.Doubt, tc.wantDoubt)
			}
		})
	}
}

// TestMissing: who does not exist or has left is missing, if the answer shows anybody.
func TestMissing(t *testing.T) {
	f := fakechat.New(bot, alice)
	for id := range uint32(450) {
		f.Users[1000+id] = 0
	}
	f.Users[5] = wire.UserStatusDeparted
	ids := []uint32{alice, 5, 6}
	for id := range uint32(451) {
		ids = append(ids, 1000+id)
	}
	missing, err := newClient(f).Missing(t.Context(), ids)
	if err != nil || !slices.Equal(missing, []uint32{5, 6, 1450}) || f.Reads["users"] != 3 {
		t.Errorf("missing %v, %v, after %d reads", missing, err, f.Reads["users"])
	}
	delete(f.Users, bot)
	if _, err := newClient(f).Missing(t.Context(), ids); !errors.Is(err, ErrUserMissing) {
		t.Errorf("without the user: %v", err)
	}
	f.Users = nil
	if _, err := newClient(f).Missing(t.Context(), ids); !errors.Is(err, ErrOutage) {
		t.Errorf("without anybody: %v", err)
	}
}

// TestRead: a group that is not shown does not exist only if the directory shows the user.
func TestRead(t *testing.T) {
	f := fakechat.New(bot)
	f.Groups[7] = &fakechat.Group{Creator: alice, Avatar: "a", Members: []uint32{bot, 9}}
	got, err := newClient(f).Read(t.Context(), 7)
	if diff := cmp.Diff(&Group{ID: 7, Creator: alice, Avatar: "a", Members: []uint32{bot, 9}}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := newClient(f).Read(t.Context(), 8); got != nil || err != nil {
		t.Errorf("an unknown group: %v, %v", got, err)
	}
	f.Users = nil
	if _, err := newClient(f).Read(t.Context(), 8); !errors.Is(err, ErrOutage) {
		t.Errorf("in an outage: %v", err)
	}
}

func TestChanges(t *testing.T) {
	ids := func(from, to uint32) (list []uint32) {
		for id := from; id < to; id++ {
			list = append(list, id)
		}
		return list
	}
	tests := map[string]struct {
		members, want []uint32
		exact         bool
		wantChanges   []string
	}{
		"nothing":        {members: ids(1, 5), want: ids(1, 5), exact: true},
		"others stay":    {members: ids(1, 9), want: ids(1, 5)},
		"others go":      {members: ids(1, 9), want: ids(1, 5), exact: true, wantChanges: []string{"remove 5 to 8"}},
		"both":           {members: ids(1, 5), want: ids(3, 8), exact: true, wantChanges: []string{"add 5 to 7", "remove 1 to 2"}},
		"100 at a time":  {members: ids(1, 2), want: ids(1, 202), wantChanges: []string{"add 2 to 101", "add 102 to 201"}},
		"removed, too":   {members: ids(1, 202), want: ids(1, 2), exact: true, wantChanges: []string{"remove 2 to 101", "remove 102 to 201"}},
		"members, twice": {members: []uint32{1, 1}, want: ids(1, 2), exact: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, c := range Changes(&Group{ID: 7, Members: tc.members}, bot, tc.want, tc.exact) {
				verb := map[bool]string{false: "add", true: "remove"}[c.Remove]
				got = append(got, fmt.Sprintf("%s %d to %d", verb, c.Members[0], c.Members[len(c.Members)-1]))
				if c.Group != 7 || c.By != bot || len(c.Members) > MaxChanged {
					t.Errorf("change %+v", c)
				}
			}
			if diff := cmp.Diff(tc.wantChanges, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for remove, want := range map[bool][]uint32{false: {3}, true: {4}} {
		if got := Effect(dbproxy.MemberChange{Remove: remove, Members: []uint32{3, 4}}, []uint32{1, 3}); !slices.Equal(got, want) {
			t.Errorf("of a change, remove %t, %v is done, want %v", remove, got, want)
		}
	}
}
