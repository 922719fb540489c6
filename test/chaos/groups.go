// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// declaredGroups is how many TeamTalkGroups a scenario declares. manyMembers is the size of a group that needs
// several requests.
const declaredGroups, manyMembers = 4, 350

// afterTakeover is later than the first action of a successor, and earlier than db_proxy disconnects a silent peer
// (30 s).
const afterTakeover = 24 * time.Second

// groupScenarios are about TeamTalkGroups. Each group is created once, and has the declared members at the end.
func groupScenarios() []scenario {
	create := []wire.Command{wire.CommandGroupCreateReq}
	created := []wire.Command{wire.CommandGroupCreateRsp}
	killed := takeovers([]scenario{
		{name: "group-kill-before-create",
			clause: "groups are requested, and db_proxy creates one in the next term",
			run: killedInGroups(0, func(w *world) *faultproxy.Armed {
				return w.onDB(faultproxy.Rule{Direction: faultproxy.ToServer, Count: 1,
					Commands: create, Do: faultproxy.ExecuteLate(afterTakeover)})
			})},
		{name: "group-kill-created", clause: "a group is created and not answered",
			run: killedInGroups(0, func(w *world) *faultproxy.Armed {
				return w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: created, Do: faultproxy.Drop})
			})},
		{name: "group-kill-unrecorded", clause: "groups are created and answered, and not recorded",
			run: groupsUnrecorded},
		{name: "group-kill-members", clause: "some members of a group are added, others are not",
			run: killedInGroups(manyMembers, func(w *world) *faultproxy.Armed {
				return w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Skip: 1, Do: faultproxy.Drop,
					Commands: []wire.Command{wire.CommandGroupChangeRsp}})
			})},
		{name: "group-drift", clause: "members of groups change while no operator runs", run: groupDrift},
	})
	return devOnly(append(killed, []scenario{
		{name: "group-created-late", run: groupsCreatedLate, short: true,
			clause: "db_proxy creates groups after the request's connection has ended"},
		{name: "group-unlisted", run: groupsUnlisted,
			clause: "groups are created and not answered, and lists of groups return nothing"},
		{name: "group-adopted-twice", run: groupsAdoptedTwice, short: true,
			clause: "two resources adopt one group, and both are edited"},
	}...))
}

func devOnly(all []scenario) []scenario {
	for i := range all {
		all[i].needsDev = true
	}
	return all
}

// declareGroups declares groups of some of the users, with n members. 0 is the same as 2.
func (w *world) declareGroups(ctx context.Context, n int) (all []*v1alpha1.TeamTalkGroup) {
	if n > 0 {
		w.gather()
	}
	for i := range declaredGroups {
		g := w.chatGroup(fmt.Sprintf("group-%d", i))
		g.Spec.DisplayName = g.Name
		g.Spec.Members.Users = ids(w.users[i : i+2])
		if n > 0 {
			g.Spec.Members.Users = ids(w.crowd[i : i+n])
		}
		framework.Must(w.cluster.admin.Create(ctx, g))
		all = append(all, g)
	}
	return all
}

func (w *world) chatGroup(name string) *v1alpha1.TeamTalkGroup {
	return &v1alpha1.TeamTalkGroup{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}}
}

func ids(users []uint32) (all []v1alpha1.UserID) {
	for _, id := range users {
		all = append(all, v1alpha1.UserID(id))
	}
	return all
}

// groupsReady waits until groups are as declared. It checks that each was created once, with the declared members.
func (w *world) groupsReady(ctx context.Context, all []*v1alpha1.TeamTalkGroup) {
	w.await(ctx, "every group is as declared", func() (string, bool) {
		for _, g := range all {
			framework.Must(w.cluster.admin.Get(ctx, client.ObjectKeyFromObject(g), g))
			if !isReady(g) {
				return fmt.Sprintf("%s: %+v", g.Name, g.Status), false
			}
		}
		return "", true
	})
	framework.Must(w.db.Idle(ctx)) // requests that are executed late count
	chats := framework.MustGet(w.dev.Groups())
	for _, g := range all {
		var own []devserver.Group
		for _, chat := range chats {
			if strings.HasSuffix(chat.Avatar, string(g.UID)) || g.Adopts() && chat.ID == uint32(*g.Spec.GroupID) {
				own = append(own, chat)
			}
		}
		want := g.Users(v1alpha1.UserID(w.sender))
		switch {
		case len(own) != 1:
			w.note("%s was created %d times", g.Name, len(own))
		case own[0].ID != uint32(*g.Status.GroupID):
			w.note("%s is group %d, its resource says %d", g.Name, own[0].ID, *g.Status.GroupID)
		case !slices.Equal(slices.Sorted(slices.Values(own[0].Members)), want):
			w.note("%s has %d members %v, want %d", g.Name, len(own[0].Members), own[0].Members, len(want))
		}
	}
}

func isReady(g *v1alpha1.TeamTalkGroup) bool {
	return g.Status.ObservedGeneration == g.Generation &&
		meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionReady)
}

// note records a violation.
func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.odd = append(w.odd, fmt.Sprintf(format, args...))
}

// killedInGroups kills the operator when a fault has affected a request about groups.
func killedInGroups(members int, arm func(*world) *faultproxy.Armed) func(context.Context, *world) {
	return func(ctx context.Context, w *world) {
		a := arm(w)
		all := w.declareGroups(ctx, members)
		framework.Must(a.Await(ctx, 1))
		w.kill(w.leader)
		a.Remove()
		w.replace(ctx)
		w.groupsReady(ctx, all)
		w.send(ctx, w.size/10)
	}
}

// groupStatusWrite matches writes of statuses of groups.
func groupStatusWrite(r *http.Request) bool {
	return r.Method == http.MethodPatch && strings.Contains(r.URL.Path, "/teamtalkgroups/") &&
		strings.HasSuffix(r.URL.Path, "/status")
}

func groupsUnrecorded(ctx context.Context, w *world) {
	hold, held := w.hold(faultproxy.ToClient, wire.CommandGroupCreateRsp)
	all := w.declareGroups(ctx, 0)
	framework.Must(held.Await(ctx, 1))
	hangs := w.leader.api.Add(apiproxy.Rule{Match: groupStatusWrite, Do: apiproxy.Hang})
	w.counts(hangs.Fired)
	hold.Release()
	framework.Must(hangs.Await(ctx, 1))
	w.kill(w.leader)
	hangs.Remove()
	w.replace(ctx)
	w.groupsReady(ctx, all)
	w.send(ctx, w.size/10)
}

func groupDrift(ctx context.Context, w *world) {
	all := w.declareGroups(ctx, 0)
	w.groupsReady(ctx, all)
	w.kill(w.leader)
	for _, g := range all {
		framework.Must(w.dev.SetMembers(uint32(*g.Status.GroupID), w.users[20], w.sender))
	}
	w.counts(func() int { return len(all) })
	w.replace(ctx)
	w.await(ctx, "the drift is corrected", func() (string, bool) {
		for _, chat := range framework.MustGet(w.dev.Groups()) {
			if slices.Contains(chat.Members, w.users[20]) {
				return fmt.Sprintf("group %d has members %v", chat.ID, chat.Members), false
			}
		}
		return "", true
	})
	w.groupsReady(ctx, all)
	w.send(ctx, w.size/10)
}

func groupsCreatedLate(ctx context.Context, w *world) {
	late := w.onDB(faultproxy.Rule{Direction: faultproxy.ToServer, Every: 2, Count: 2,
		Commands: []wire.Command{wire.CommandGroupCreateReq}, Do: faultproxy.ExecuteLate(settle - 500*time.Millisecond)})
	all := w.declareGroups(ctx, 0)
	for n := range 2 {
		framework.Must(late.Await(ctx, n+1))
		for i, g := range all { // has each of them looked at again
			framework.Must(framework.MergePatch(ctx, w.cluster.admin, g, `{"spec":{"members":{"users":[%d,%d]}}}`,
				w.users[10*n+i], w.users[10*n+i+1]))
		}
	}
	w.groupsReady(ctx, all)
	w.send(ctx, w.size/10)
}

func groupsUnlisted(ctx context.Context, w *world) {
	known := w.chatGroup("known")
	known.Spec.DisplayName = known.Name
	framework.Must(w.cluster.admin.Create(ctx, known))
	w.groupsReady(ctx, []*v1alpha1.TeamTalkGroup{known})
	empty := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Skip: declaredGroups, Do: faultproxy.Empty,
		Commands: []wire.Command{wire.CommandUserGroupsRsp}})
	lost := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Count: 1, Do: faultproxy.Cut,
		Commands: []wire.Command{wire.CommandGroupCreateRsp}})
	all := w.declareGroups(ctx, 0)
	framework.Must(lost.Await(ctx, 1))
	framework.Must(empty.Await(ctx, 5)) // it is looked for again and again
	after(ctx, settle+lag+5*time.Second)
	empty.Remove()
	w.groupsReady(ctx, append(all, known))
	w.send(ctx, w.size/10)
}

func groupsAdoptedTwice(ctx context.Context, w *world) {
	framework.Must(framework.MergePatch(ctx, w.cluster.admin, w.server(), `{"spec":{"groups":{"adoptAny":true}}}`))
	var older, newer []*v1alpha1.TeamTalkGroup
	adopt := func(name string, i int) *v1alpha1.TeamTalkGroup {
		g := w.chatGroup(fmt.Sprintf("%s-%d", name, i))
		g.Spec.GroupID, g.Spec.MembersPolicy = new(v1alpha1.GroupID(w.groups[i])), v1alpha1.MembersExact
		g.Spec.Members.Users = ids(w.users[i : i+2])
		framework.Must(w.cluster.admin.Create(ctx, g))
		return g
	}
	for i := range declaredGroups {
		older = append(older, adopt("older", i))
	}
	after(ctx, 1100*time.Millisecond) // creation times have seconds
	for i := range declaredGroups {
		newer = append(newer, adopt("newer", i))
	}
	w.counts(func() int { return len(newer) })
	for n := range 5 {
		for i := range declaredGroups {
			edit := func(g *v1alpha1.TeamTalkGroup, first int) {
				framework.Must(framework.MergePatch(ctx, w.cluster.admin, g, `{"spec":{"members":{"users":[%d,%d]}}}`,
					w.users[first+n], w.users[first+n+1]))
			}
			edit(older[i], 10+i)
			edit(newer[i], 40+i)
		}
	}
	w.groupsReady(ctx, older)
	w.await(ctx, "the newer resources are refused", func() (string, bool) {
		for _, g := range newer {
			framework.Must(w.cluster.admin.Get(ctx, client.ObjectKeyFromObject(g), g))
			ready := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionReady)
			switch {
			case g.Status.ObservedGeneration != g.Generation || ready == nil:
				return g.Name + " is not observed", false
			case ready.Reason == v1alpha1.ReasonReady:
				w.note("%s manages the group of an older resource", g.Name)
				return "", true
			case ready.Reason != v1alpha1.ReasonGroupNotAdoptable:
				return fmt.Sprintf("%s: %+v", g.Name, ready), false
			}
		}
		return "", true
	})
	w.groupsReady(ctx, older)
	w.send(ctx, w.size/10)
}
