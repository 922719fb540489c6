// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/chatgroup"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// announcement is a change that no router has accepted yet, or whose request was not answered.
type announcement struct {
	change dbproxy.MemberChange
	since  time.Time
}

// maxAnnouncements limits the announcements in memory for a group.
const maxAnnouncements = 50

// changeMembers brings the group to the declared members, and announces each change.
func (r *Reconciler) changeMembers(ctx context.Context, s *scope) (outcome, error) {
	s.announceEarlier(ctx)
	want := s.wanted()
	changes := chatgroup.Changes(s.chat, s.actingUser(), want, s.group.RemovesOthers())
	if len(changes) == 0 {
		return proceed, nil
	}
	missing, _ := chatgroup.Difference(s.chat.Members, want)
	if out, err := s.requireUsers(ctx, missing); err != nil || out.action != actionContinue {
		return out, err
	}
	r.Engine.Groups.Begin(s.group.UID, client.ObjectKeyFromObject(s.server), s.chat.ID)
	if s.memory.changing != s.group.Generation {
		r.Engine.Groups.Restart(s.group.UID)
	}
	setChanging(s.group, fmt.Sprintf("the members of group %d are being changed", s.chat.ID))
	if err := r.write(ctx, s); err != nil {
		return proceed, err
	}
	s.memory.changed = true
	for _, change := range changes {
		if r.Engine.Draining() {
			return leave(0), nil
		}
		if out := s.change(ctx, change); out.action != actionContinue {
			return out, nil
		}
	}
	if missing, others := chatgroup.Difference(s.chat.Members, want); len(missing) > 0 ||
		len(others) > 0 && s.group.RemovesOthers() {
		return s.retry(v1alpha1.ReasonChanging,
			fmt.Sprintf("group %d does not show the declared members yet", s.chat.ID)), nil
	}
	return proceed, nil
}

// systemUser is TeamTalk's user that may change every group.
const systemUser = 0

// actingUser returns the user that db_proxy allows to change the group: its creator, or the system user if it was
// adopted.
func (s *scope) actingUser() uint32 {
	if s.group.Adopts() && s.chat.Creator != s.talk.User {
		return systemUser
	}
	return s.chat.Creator
}

// change requests one change, and announces it.
func (s *scope) change(ctx context.Context, change dbproxy.MemberChange) outcome {
	after, err := s.talk.Change(ctx, change)
	if !errors.Is(err, dbproxy.ErrNotSent) {
		s.memory.changing = s.group.Generation
	}
	switch {
	case err == nil:
		s.chat.Members = after.Current
		s.setMembers(after.Current)
		s.announce(ctx, change, after)
		return proceed
	case errors.Is(err, dbproxy.ErrRefused):
		return s.retry(v1alpha1.ReasonStoreRejected,
			fmt.Sprintf("db_proxy refused to change the members of group %d; the operator retries", s.chat.ID))
	case errors.Is(err, dbproxy.ErrNotSent):
		return s.unanswered(err)
	}
	// The change may have been executed, or may still be. The group is read after the settle time.
	s.keep(change)
	return retryAfter(s.settled(), v1alpha1.ReasonNoAnswer,
		fmt.Sprintf("a change of group %d was not answered; the operator reads the group again", s.chat.ID))
}

// announce notifies the clients of the members. If no router accepts the announcement, a later pass retries it.
func (s *scope) announce(ctx context.Context, change dbproxy.MemberChange, m dbproxy.Membership) {
	if s.talk.Announce(ctx, change, m) != nil {
		s.keep(change)
	}
}

func (s *scope) keep(change dbproxy.MemberChange) {
	if all := s.memory.announcements; len(all) < maxAnnouncements {
		s.memory.announcements = append(all, announcement{change, s.now})
	}
}

// announceEarlier announces changes that were not announced yet, once the group shows them. For changes of an earlier
// process, the status shows only that there were some.
func (s *scope) announceEarlier(ctx context.Context) {
	kept := s.memory.announcements
	s.memory.announcements = nil
	for _, a := range kept {
		a.change.Members = chatgroup.Effect(a.change, s.chat.Members)
		if len(a.change.Members) == 0 || s.now.Sub(a.since) > delivery.RouteTimeout {
			continue
		}
		m := dbproxy.Membership{Current: s.chat.Members, Changed: a.change.Members}
		if s.talk.Announce(ctx, a.change, m) != nil {
			s.memory.announcements = append(s.memory.announcements, a)
		}
	}
	if s.memory.changed || !isChanging(s.written) {
		return
	}
	s.memory.changed = true
	all := dbproxy.MemberChange{By: s.actingUser(), Group: s.chat.ID, Members: s.chat.Members}
	s.announce(ctx, all, dbproxy.Membership{Current: s.chat.Members, Changed: s.chat.Members})
}
