// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// nameScenarios are about recipients that messages give by name.
func nameScenarios() []scenario {
	return takeovers([]scenario{{
		name: "kill-named", needsDev: true,
		run:    func(ctx context.Context, w *world) { w.killNamed(ctx, w.rename, w.byName, w.caught()) },
		clause: "recipients are named, and the names move to others before the next term",
	}, {
		name: "kill-group-refs", needsDev: true,
		run: func(ctx context.Context, w *world) {
			framework.Must(framework.MergePatch(ctx, w.cluster.admin, w.server(), `{"spec":{"groups":{"adoptAny":true}}}`))
			w.onlyGroups = true
			w.killNamed(ctx, func(shift int) { w.adoptByRef(ctx, shift) }, w.byRef, 1) // one goes at a time
		},
		clause: "messages refer to TeamTalkGroups, which are replaced before the next term",
	}})
}

// byName makes messages name their recipients instead of giving ids. With shift, each recipient has the name of the
// next one.
func (w *world) byName(shift int) {
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		o.Spec.To = v1alpha1.Recipients{}
		for _, to := range m.to {
			if to.group {
				o.Spec.To.GroupNames = append(o.Spec.To.GroupNames, groupName(w.groups, to.id, shift))
			} else {
				o.Spec.To.UserNames = append(o.Spec.To.UserNames, userName(w.users, to.id, shift))
			}
		}
	}
}

// laterID returns the id at this distance in the list, which is circular.
func laterID(ids []uint32, id uint32, by int) uint32 { return ids[(slices.Index(ids, id)+by)%len(ids)] }

func userName(users []uint32, id uint32, shift int) string {
	return framework.User(laterID(users, id, shift)).Name
}

func groupName(groups []uint32, id uint32, shift int) string {
	return fmt.Sprint("group", laterID(groups, id, shift))
}

// rename gives each user and group the name that byName expects.
func (w *world) rename(shift int) {
	for _, id := range w.users {
		u := framework.User(id)
		u.Name = userName(w.users, id, shift)
		framework.Must(w.dev.AddUser(u))
	}
	for _, id := range w.groups {
		framework.Must(w.dev.PutGroup(devserver.Group{
			ID: id, Name: groupName(w.groups, id, shift), Members: []uint32{w.sender, w.users[0], w.users[1]},
		}))
	}
}

// resolved waits until the status of every message shows the ids of its recipients.
func (w *world) resolved(ctx context.Context) {
	w.await(ctx, "every name is resolved", func() (string, bool) {
		n := 0
		for _, o := range w.objects(ctx, w.cluster.admin) {
			hasNoID := func(r v1alpha1.RecipientStatus) bool { return r.ID == 0 }
			if len(o.Status.Recipients) > 0 && !slices.ContainsFunc(o.Status.Recipients, hasNoID) {
				n++
			}
		}
		return fmt.Sprintf("%d of %d", n, len(w.messages)), n == len(w.messages)
	})
}

// byRef makes messages to groups refer to TeamTalkGroups. With shift, each group has the resource of the next one.
func (w *world) byRef(shift int) {
	w.shape = func(_ *message, o *v1alpha1.TeamTalkMessage) {
		for _, id := range o.Spec.To.Groups {
			ref := groupRef(laterID(w.groups, uint32(id), shift))
			o.Spec.To.GroupRefs = append(o.Spec.To.GroupRefs, v1alpha1.GroupReference{Name: ref})
		}
		o.Spec.To.Groups = nil
	}
}

func groupRef(id uint32) string { return fmt.Sprint("group-", id) }

// adoptByRef declares the TeamTalkGroups that byRef expects, and replaces others.
func (w *world) adoptByRef(ctx context.Context, shift int) {
	for _, id := range w.groups {
		g := w.chatGroup(groupRef(laterID(w.groups, id, shift)))
		framework.Must(client.IgnoreNotFound(w.cluster.admin.Delete(ctx, g.DeepCopy())))
		g.Spec.GroupID = new(v1alpha1.GroupID(id))
		framework.Must(w.cluster.admin.Create(ctx, g))
	}
}

// killNamed kills the operator when messages to names are recorded, and some of them were sent but not stored. name
// gives each recipient the name that declare uses.
func (w *world) killNamed(ctx context.Context, name, declare func(shift int), sent int) {
	name(0)
	declare(0)
	refused := w.leader.api.Add(apiproxy.Rule{Match: apiproxy.StatusWrite,
		Do: apiproxy.Refuse(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable)})
	w.counts(refused.Fired)
	w.send(ctx, w.size/2)
	framework.Must(refused.Await(ctx, 2*len(w.messages))) // each of them more than once
	w.countEarly(ctx)
	dropped := w.onDB(faultproxy.Rule{
		Direction: faultproxy.ToServer, Commands: []wire.Command{wire.CommandMsgData}, Do: faultproxy.Drop,
	})
	refused.Remove()
	w.send(ctx, w.size/2)
	framework.Must(dropped.Await(ctx, sent))
	w.resolved(ctx)
	w.kill(w.leader)
	// If names were resolved again, each message would go to another recipient.
	name(1)
	declare(1)
	dropped.Remove()
	w.replace(ctx)
	w.send(ctx, w.size/10)
}
