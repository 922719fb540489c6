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
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/tenancy"
)

// unclaimedGrace is how long the operator that manages a server has to record a group.
const unclaimedGrace = 30 * time.Second

// requireClaim stops the pass if this process may not use the server, or not yet. The status of another operator is not
// overwritten.
func (r *Reconciler) requireClaim(s *scope) outcome {
	server := s.group.ServerKey()
	if s.claimed {
		return proceed
	}
	refused := r.Claims.Refused(server)
	unclaimed := unclaimedGrace - s.now.Sub(s.group.CreationTimestamp.Time)
	switch {
	case refused == nil:
		return proceed // resolveServer reports whether the server exists
	case len(s.group.Status.Conditions) > 0:
		return leave(0)
	case unclaimed > 0:
		return leave(unclaimed)
	case server.Namespace != s.group.Namespace:
		return waitFor(refused.Reason,
			fmt.Sprintf("TeamTalkServer %q is managed by another operator: ask its owner", server.Name))
	}
	return waitFor(refused.Reason, refused.Message)
}

// resolveServer reads the server and checks that the group's namespace may use it.
func (r *Reconciler) resolveServer(ctx context.Context, s *scope) (outcome, error) {
	server, err := tenancy.FindServer(ctx, r.Client, s.group.ServerKey(), s.group.Namespace)
	if missing, ok := errors.AsType[*tenancy.NotFoundError](err); ok {
		return waitFor(v1alpha1.ReasonServerNotFound, missing.Error()), nil
	}
	if err == nil && (!s.claimed || !r.Claims.Holds(client.ObjectKeyFromObject(server), server.UID)) {
		return leave(time.Second), nil // its controller has not claimed it yet
	}
	s.server = server
	return proceed, err
}

// checkMembersPermitted refuses members that the server's rules exclude: a message to the group would reach them.
func checkMembersPermitted(s *scope) outcome {
	for _, id := range s.group.Listed() {
		if !s.server.Spec.Recipients.Permits(v1alpha1.RecipientUser, int64(id)) {
			return refuse(v1alpha1.ReasonRecipientNotPermitted,
				fmt.Sprintf("the server's recipients rules exclude user %d", id))
		}
	}
	return proceed
}

// checkAdoptable refuses groups that the server does not list.
func checkAdoptable(s *scope) outcome {
	if isAdoptable(s.group, s.server) {
		return proceed
	}
	return notAdoptable(s, "is not listed in spec.groups.adoptable of TeamTalkServer %q: add it there", s.server.Name)
}

func isAdoptable(g *v1alpha1.TeamTalkGroup, server *v1alpha1.TeamTalkServer) bool {
	return !g.Adopts() || server.Spec.Groups.MayAdopt(*g.Spec.GroupID)
}

func notAdoptable(s *scope, format string, args ...any) outcome {
	return refuse(v1alpha1.ReasonGroupNotAdoptable,
		fmt.Sprintf("group %d ", s.group.ChatGroup())+fmt.Sprintf(format, args...))
}

// canceled is a context for calls that must not block.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// requireConnection waits for db_proxy. The event of the server's status wakes the group, unless the status is that of
// an earlier leader: if it says connected already, no event follows.
func (r *Reconciler) requireConnection(_ context.Context, s *scope) (outcome, error) {
	session, ok := r.Session(client.ObjectKeyFromObject(s.server))
	if isReady := ok && session.WaitReady(canceled) == nil; !isReady {
		wait := waitFor
		if isConnected(s.server) {
			wait = s.retry
		}
		return wait(v1alpha1.ReasonServerNotReady,
			fmt.Sprintf("TeamTalkServer %q is not connected to db_proxy: its conditions say why", s.server.Name)), nil
	}
	s.talk = &chatgroup.Client{
		TeamTalk: session, Namespace: s.group.Namespace, User: uint32(s.server.Spec.Senders.Default),
	}
	return proceed, nil
}

// readGroup reads the group, and refuses one that the resource may not manage.
func (r *Reconciler) readGroup(ctx context.Context, s *scope) (outcome, error) {
	id := uint32(s.group.ChatGroup())
	name := fmt.Sprintf("group %d", id)
	chat, err := s.talk.Read(ctx, id)
	if chat != nil && s.memory.absent == name {
		s.memory.absent = ""
	}
	switch {
	case err != nil:
		return s.unanswered(err), nil
	case chat == nil && !s.isAbsent(name):
		return retryAfter(s.settled(), v1alpha1.ReasonNoAnswer,
			fmt.Sprintf("TeamTalk does not show group %d; the operator looks again", id)), nil
	case chat == nil && s.group.Adopts():
		return notAdoptable(s, "does not exist in TeamTalk: correct groupID"), nil
	case chat == nil:
		return refuse(v1alpha1.ReasonGroupNotFound,
			fmt.Sprintf("group %d does not exist in TeamTalk any more: create another TeamTalkGroup", id)), nil
	case !s.group.Adopts() && !s.group.IsMarked(chat.Avatar):
		return refuse(v1alpha1.ReasonGroupNotFound, fmt.Sprintf("group %d is not the one that was created: "+
			"its avatar does not have the mark of this resource", id)), nil
	case len(chat.Members) == 0:
		// A change would fill the cache with only the changed members. The others would be missing until the cache is
		// flushed.
		return s.retry(v1alpha1.ReasonNoAnswer, fmt.Sprintf("TeamTalk shows group %d without members: its cache was "+
			"flushed, and the next message to the group fills it", id)), nil
	}
	s.chat = chat
	s.setGroup(id)
	s.setMembers(chat.Members)
	r.manage(s)
	return proceed, nil
}

// unanswered is the outcome of a failed read.
func (s *scope) unanswered(err error) outcome {
	switch {
	case errors.Is(err, chatgroup.ErrUserMissing):
		return refuse(v1alpha1.ReasonSenderNotFound, fmt.Sprintf(
			"user %d, the default sender of TeamTalkServer %q, does not exist in TeamTalk", s.talk.User, s.server.Name))
	case errors.Is(err, dbproxy.ErrNotSent):
		return s.retry(v1alpha1.ReasonServerNotReady,
			fmt.Sprintf("TeamTalkServer %q could not be queried in time", s.server.Name))
	case errors.Is(err, chatgroup.ErrOutage):
		return s.retry(v1alpha1.ReasonNoAnswer, err.Error())
	}
	return s.retry(v1alpha1.ReasonNoAnswer, "db_proxy does not answer; the operator retries")
}
