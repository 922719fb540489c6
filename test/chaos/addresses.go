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

// spelledHosts are one host. With a bound for each spelling, db_proxy gets more group requests than it survives.
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

// sendUnderDeadlock sends messages while db_proxy hangs for good once more than 16 group requests run at once.
func (w *world) sendUnderDeadlock(ctx context.Context) {
	// Slow enough that messages to all groups would meet, on a slow machine as well.
	framework.MustGet(w.dev.Faults().Add(devserver.Fault{Kind: devserver.GroupDeadlock, Delay: deadlockDelay}))
	// Each group request is one that could have been one too many.
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
