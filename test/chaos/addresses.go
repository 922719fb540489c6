// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func addressScenarios() []scenario {
	return []scenario{{
		name:   "addresses-spelled",
		clause: "servers spell one address differently; its db_proxy deadlocks at more than 16 group requests",
		alone:  true, needsDev: true, short: true, flags: groupBound, run: addressesSpelled,
	}}
}

// spelledHosts are spellings of one host. If each spelling had its own bound, db_proxy would get too many group
// requests.
var spelledHosts = []string{"127.0.0.1", "localhost", "LOCALHOST", "LocalHost", "[::ffff:127.0.0.1]", "[::FFFF:7F00:1]"}

func addressesSpelled(ctx context.Context, w *world) {
	_, port, err := net.SplitHostPort(w.db.Addr())
	framework.Must(err)
	var servers []*v1alpha1.ServerReference
	for i, host := range spelledHosts {
		servers = append(servers, w.serveElsewhere(ctx, fmt.Sprintf("%s-%d", w.namespace, i), host+":"+port))
	}
	w.onlyGroups = true
	// Each group gets its messages through one server.
	w.shape = func(m *message, o *v1alpha1.TeamTalkMessage) {
		o.Spec.ServerRef = servers[int(m.to[0].id)%len(servers)]
	}
	w.sendUnderDeadlock(ctx)
}

// serveElsewhere creates a TeamTalkServer that permits many group requests, in a namespace of its own.
func (w *world) serveElsewhere(ctx context.Context, namespace, dbProxy string) *v1alpha1.ServerReference {
	admin := w.cluster.admin
	framework.Must(framework.CreateNamespace(ctx, admin, framework.OperatorUser, namespace))
	w.elsewhere = append(w.elsewhere, namespace)
	key, s := w.secret(w.keys[0], ""), w.server()
	key.Namespace, s.Namespace = namespace, namespace
	s.Spec.AllowedNamespaces.From = v1alpha1.FromAll
	s.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{v1alpha1.Endpoint(dbProxy)}
	s.Spec.DBProxy.MaxGroupInFlight = devGroups
	framework.Must(admin.Create(ctx, key))
	framework.Must(admin.Create(ctx, s))
	framework.Must(framework.Await(ctx, "the TeamTalkServer is Ready", framework.ServerReady(admin, namespace)))
	return &v1alpha1.ServerReference{Name: s.Name, Namespace: namespace}
}

// sendUnderDeadlock sends messages while a fault is active: db_proxy hangs for ever once it runs more than 16 group
// requests.
func (w *world) sendUnderDeadlock(ctx context.Context) {
	// It is slow enough that messages to all groups would overlap, also on a slow machine.
	framework.MustGet(w.dev.Faults().Add(devserver.Fault{Kind: devserver.GroupDeadlock, Delay: deadlockDelay}))
	// Each group request could have exceeded the bound.
	w.onDB(faultproxy.Rule{Match: faultproxy.Frame.Group, Do: faultproxy.Pass})
	w.send(ctx, w.size)
	w.await(ctx, "every message is finished", func() (string, bool) {
		if w.dev.Faults().Fired(devserver.GroupDeadlock) > 0 {
			w.dev.Faults().Clear() // like a restart of db_proxy, which the count needs
			framework.Must(errDeadlock)
		}
		return "", w.finishedCount(ctx) == len(w.messages)
	})
}
