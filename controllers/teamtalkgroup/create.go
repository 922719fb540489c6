// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/chatgroup"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// create creates the group if it does not exist, and records its id immediately.
func (r *Reconciler) create(ctx context.Context, s *scope) (outcome, error) {
	if s.group.ChatGroup() != 0 {
		return proceed, nil
	}
	known, err := r.knownGroup(ctx, s)
	if err != nil {
		return proceed, err
	}
	search := chatgroup.Search{IsMarked: s.group.IsMarked, Known: known}
	attempt := s.group.Status.CreateAttempt
	if attempt != nil {
		search.Creator = uint32(attempt.SenderID) // a server that was created again may have another one
	}
	found, err := s.talk.Find(ctx, search)
	provable := s.provableAt()
	switch {
	case err != nil:
		return s.unanswered(err), nil
	case found.Group != 0:
		s.setGroup(found.Group)
		return proceed, r.write(ctx, s)
	case found.Doubt != "":
		return s.retry(v1alpha1.ReasonNoAnswer, "not created yet, as it may exist: "+found.Doubt), nil
	case attempt != nil && attempt.ServerUID != string(s.server.UID):
		return refuse(v1alpha1.ReasonOutcomeUnknown, fmt.Sprintf("an attempt to create the group through an earlier "+
			"TeamTalkServer %q was not answered: look for the group there, and create another "+
			"TeamTalkGroup, which adopts the group or creates one", s.server.Name)), nil
	case found.At.Before(provable):
		return retryAfter(time.Until(provable), v1alpha1.ReasonNoAnswer,
			"an attempt to create the group was not answered: the operator searches for it before it retries"), nil
	}
	members := s.wanted()
	if out, err := s.requireUsers(ctx, members); err != nil || out.action != actionContinue {
		return out, err
	}
	if r.Engine.Draining() {
		return leave(0), nil
	}
	return r.attempt(ctx, s, members)
}

// knownGroup returns the newest group that a resource of the server has created. The sender is a member of it. Adopted
// groups do not count: they may be temporary, and TeamTalk does not list temporary groups.
func (r *Reconciler) knownGroup(ctx context.Context, s *scope) (uint32, error) {
	list := &v1alpha1.TeamTalkGroupList{}
	server := client.ObjectKeyFromObject(s.server).String()
	if err := r.Client.List(ctx, list, client.MatchingFields{serverIndex: server}); err != nil {
		return 0, fmt.Errorf("list the TeamTalkGroups of TeamTalkServer %s: %w", server, err)
	}
	var newest v1alpha1.GroupID
	for i := range list.Items {
		g := &list.Items[i]
		isReady := meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionReady)
		if isReady && !g.Adopts() && g.Status.GroupID != nil {
			newest = max(newest, *g.Status.GroupID)
		}
	}
	return uint32(newest), nil
}

// attempt records that the group is being created, and creates it.
func (r *Reconciler) attempt(ctx context.Context, s *scope, members []uint32) (outcome, error) {
	s.group.Status.CreateAttempt = s.attemptNow()
	setChanging(s.group, "the group is being created")
	if err := r.write(ctx, s); err != nil {
		return proceed, err
	}
	first := members[:min(len(members), chatgroup.MaxChanged)]
	if !slices.Contains(first, s.talk.User) {
		first = append([]uint32{s.talk.User}, first[1:]...) // the sender is a member, so that the group can be found
	}
	id, err := s.talk.Create(ctx, dbproxy.NewGroup{
		By: s.talk.User, Name: s.group.Spec.DisplayName, Avatar: s.group.Avatar(), Members: first,
	})
	s.memory.attemptEnded, s.memory.changed = time.Now(), true
	switch {
	case err == nil:
		s.setGroup(id)
		s.setMembers(first)
		change := dbproxy.MemberChange{By: s.talk.User, Group: id, Members: first}
		s.announce(ctx, change, dbproxy.Membership{Current: first, Changed: first})
		return proceed, r.write(ctx, s)
	case errors.Is(err, dbproxy.ErrRefused):
		s.group.Status.CreateAttempt = nil
		return refuse(v1alpha1.ReasonGroupCreateFailed, "db_proxy refused to create the group: check its log"), nil
	case errors.Is(err, dbproxy.ErrNotSent):
		s.group.Status.CreateAttempt = nil
		return s.unanswered(err), nil
	}
	return retryAfter(s.settled(), v1alpha1.ReasonNoAnswer,
		"an attempt to create the group was not answered: the operator searches for it before it retries"), nil
}

// requireUsers refuses members who do not exist, or have left TeamTalk. db_proxy would add them.
func (s *scope) requireUsers(ctx context.Context, ids []uint32) (outcome, error) {
	if len(ids) == 0 {
		return proceed, nil
	}
	missing, err := s.talk.Missing(ctx, ids)
	switch {
	case err != nil:
		return s.unanswered(err), nil
	case len(missing) == 0:
		return proceed, nil
	}
	who := "users that do not exist in TeamTalk, or have left: " + listUsers(missing)
	if s.isAbsent(who) {
		return refuse(v1alpha1.ReasonMembersNotFound, "nothing is changed; remove from members "+who), nil
	}
	return retryAfter(s.settled(), v1alpha1.ReasonNoAnswer, "the operator looks again for "+who), nil
}

// listUsers lists up to ten ids, to limit the length of the message.
func listUsers(ids []uint32) string {
	const most = 10
	list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ids[:min(len(ids), most)]), " ", ", "), "[]")
	if more := len(ids) - most; more > 0 {
		list += fmt.Sprintf(", and %d more", more)
	}
	return list
}
