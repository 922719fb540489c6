// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func (f *talk) read(name string) error {
	if f.down {
		return errNotSent
	}
	if f.fails != nil {
		return f.fails(name)
	}
	return nil
}

func (f *talk) Users(_ context.Context, _ uint32, ids []uint32) (map[uint32]*wire.UserInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("users"); err != nil {
		return nil, err
	}
	found := map[uint32]*wire.UserInfo{}
	for _, id := range ids {
		if f.users[id] {
			found[id] = &wire.UserInfo{UserId: proto.Uint32(id)}
		}
	}
	return found, nil
}

func (f *talk) Groups(_ context.Context, _ uint32, ids []uint32) (map[uint32]*wire.GroupInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("groups"); err != nil {
		return nil, err
	}
	found := map[uint32]*wire.GroupInfo{}
	for _, id := range ids {
		if members, ok := f.groups[id]; ok {
			found[id] = &wire.GroupInfo{GroupId: proto.Uint32(id), GroupMemberList: slices.Clone(members)}
		}
	}
	return found, nil
}

// LatestID is 0 for a conversation without rows.
func (f *talk) LatestID(_ context.Context, s dbproxy.Session) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("latest"); err != nil {
		return 0, err
	}
	c := queue.ConversationOf("", s.UserID, recipientOf(s.Type == wire.SessionType_SESSION_TYPE_GROUP, s.ID))
	for _, r := range f.rows {
		if r.conversation == c {
			return r.GetMsgId(), nil
		}
	}
	return 0, nil
}

func recipientOf(group bool, id uint32) v1alpha1.Recipient {
	if group {
		return v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: id}
	}
	return v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: id}
}

func (f *talk) visible(s dbproxy.Session) []*wire.MsgInfo {
	c := queue.ConversationOf("", s.UserID, recipientOf(s.Type == wire.SessionType_SESSION_TYPE_GROUP, s.ID))
	var rows []*wire.MsgInfo
	for _, r := range f.rows {
		hidden := r.visible.After(time.Now()) || c.Type == v1alpha1.RecipientGroup && r.GetCreateTime() < f.joined
		if r.conversation == c && !hidden {
			rows = append(rows, r.MsgInfo)
		}
	}
	return rows
}

func (f *talk) Scan(_ context.Context, s dbproxy.Session, count uint32, to dbproxy.Scanner) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("list"); err != nil {
		return err
	}
	rows := f.visible(s)
	slices.SortStableFunc(rows, func(a, b *wire.MsgInfo) int { return int(b.GetCreateTime()) - int(a.GetCreateTime()) })
	to.Begin()
	for _, r := range rows[:min(len(rows), int(count))] {
		to.Row(r)
	}
	return nil
}

func (f *talk) ByID(_ context.Context, s dbproxy.Session, ids []uint32) ([]*wire.MsgInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("byID"); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(f.visible(s), func(r *wire.MsgInfo) bool { return !slices.Contains(ids, r.GetMsgId()) }), nil
}
