// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func (f *talk) read(name string) error {
	if f.reads == nil {
		f.reads = map[string]int{}
	}
	f.reads[name]++
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
			found[id] = &wire.UserInfo{UserId: proto.Uint32(id), UserRealName: proto.String(f.logins[id]), Status: proto.Uint32(2)}
			if f.departed[id] {
				found[id].Status = proto.Uint32(wire.UserStatusDeparted)
			}
		}
	}
	return found, nil
}

func (f *talk) Groups(_ context.Context, _ uint32, ids []uint32, reduce func(*wire.GroupInfo)) (
	map[uint32]*wire.GroupInfo, error,
) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("groups"); err != nil {
		return nil, err
	}
	found := map[uint32]*wire.GroupInfo{}
	for _, id := range ids {
		if members, ok := f.groups[id]; ok && id != f.hiddenGroup {
			name := f.groupNames[id]
			found[id] = &wire.GroupInfo{GroupId: proto.Uint32(id), GroupName: &name, GroupMemberList: slices.Clone(members)}
			reduce(found[id])
		}
	}
	return found, nil
}

func (f *talk) ScanUsers(_ context.Context, _ uint32, to dbproxy.UserScanner) error {
	<-elapsed(f.usersTake)
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.read("all users")
	if !errors.Is(err, dbproxy.ErrNotSent) {
		f.scans = append(f.scans, time.Now())
	}
	if err != nil {
		return err
	}
	to.Begin()
	for id, name := range f.logins {
		if !f.departed[id] {
			to.User(id, []byte(name))
		}
	}
	if f.scanned != nil {
		f.scanned()
	}
	return nil
}

func (f *talk) GroupsOf(_ context.Context, user uint32) ([]uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("groups of a user"); err != nil {
		return nil, err
	}
	var ids []uint32
	for id, members := range f.groups {
		if slices.Contains(members, user) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// RecentSessions are the user's conversations that have rows, or had some before their table was hidden.
func (f *talk) RecentSessions(_ context.Context, user uint32) ([]*wire.ContactSessionInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("sessions"); err != nil {
		return nil, err
	}
	var sessions []*wire.ContactSessionInfo
	for _, r := range f.rows {
		c := r.conversation
		s := dbproxy.Session{UserID: user, Type: wire.SessionType_SESSION_TYPE_SINGLE, ID: c.Low + c.High - user}
		if c.Type == v1alpha1.RecipientGroup {
			s.Type, s.ID = wire.SessionType_SESSION_TYPE_GROUP, c.High
		}
		member := c.Low == user || c.High == user
		if c.Type == v1alpha1.RecipientGroup {
			member = slices.Contains(f.groups[c.High], user)
		}
		known := slices.ContainsFunc(sessions, func(o *wire.ContactSessionInfo) bool {
			return o.GetSessionType() == s.Type && o.GetSessionId() == s.ID
		})
		if !member || known {
			continue
		}
		latest := uint32(0)
		if newest := f.newest(c); newest != nil {
			latest = newest.GetMsgId()
		}
		sessions = append(sessions, &wire.ContactSessionInfo{SessionId: &s.ID, SessionType: &s.Type, LatestMsgId: &latest})
	}
	return sessions, nil
}

// newest returns the newest row of a conversation that can be read; nil: there is none.
func (f *talk) newest(c queue.Conversation) *wire.MsgInfo {
	var newest *wire.MsgInfo
	for _, r := range f.rows {
		readable := r.conversation == c && !r.visible.After(time.Now()) && !f.isHidden(c)
		if readable && (newest == nil || r.GetCreateTime() >= newest.GetCreateTime()) {
			newest = r.MsgInfo
		}
	}
	return newest
}

// isHidden reports whether the conversation's table cannot be read.
func (f *talk) isHidden(c queue.Conversation) bool { return f.hidden != nil && f.hidden(c) }

// LatestID is 0 for a conversation without rows.
func (f *talk) LatestID(_ context.Context, s dbproxy.Session) (uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.read("latest"); err != nil {
		return 0, err
	}
	c := queue.ConversationOf(types.NamespacedName{}, s.UserID, recipientOf(s.Type == wire.SessionType_SESSION_TYPE_GROUP, s.ID))
	if newest := f.newest(c); newest != nil {
		return newest.GetMsgId(), nil
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
	c := queue.ConversationOf(types.NamespacedName{}, s.UserID, recipientOf(s.Type == wire.SessionType_SESSION_TYPE_GROUP, s.ID))
	var rows []*wire.MsgInfo
	group := c.Type == v1alpha1.RecipientGroup
	if f.isHidden(c) || group && !slices.Contains(f.groups[s.ID], s.UserID) {
		return nil
	}
	for _, r := range f.rows {
		hidden := r.visible.After(time.Now()) || group && r.GetCreateTime() < max(f.joined, f.joinedAt[s.UserID])
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
	if rows = rows[:min(len(rows), int(count))]; f.unlisted {
		rows = nil
	}
	if err := f.readRows(len(rows)); err != nil {
		return err
	}
	to.Begin()
	for _, r := range rows {
		to.Row(r)
	}
	return nil
}

// readRows takes the time of a list.
func (f *talk) readRows(n int) error {
	if f.rowTime == nil {
		return nil
	}
	var takes time.Duration
	for i := range n {
		takes += f.rowTime(i)
	}
	if takes > clientTimeout {
		f.reads["list, unanswered"]++
		<-elapsed(clientTimeout)
		return dbproxy.ErrNoAnswer
	}
	<-elapsed(takes)
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
