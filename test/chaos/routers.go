// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func routerScenarios() []scenario {
	return []scenario{
		{name: "router-drops", clause: "the router does not relay some messages", short: true, run: routerDrops},
		{name: "router-cut", short: true, reroutes: true, run: routerCut,
			clause: "connections to the router end with messages on them"},
		{name: "router-gone", short: true, run: routerGone,
			clause: "the router is down while messages are stored, and returns"},
		{
			name:   "router-black-hole",
			clause: "the router accepts frames, relays and answers nothing, and recovers",
			short:  true, run: routerBlackHole,
		},
	}
}

func routerDrops(ctx context.Context, w *world) {
	w.onRoute(faultproxy.Rule{
		Commands: messages, Every: 5, Do: faultproxy.Drop,
		OnFire: func(f faultproxy.Frame) {
			// The operator cannot see which announcements the router loses.
			if which, ok := w.pieceOf(f.Message()); ok {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.unrouted[which] = true
			}
		},
	})
	w.send(ctx, w.size)
}

const routerCuts = 5

// routerCut cuts connections at an announcement, which is lost. Only the router's silence shows that.
func routerCut(ctx context.Context, w *world) {
	w.onRoute(faultproxy.Rule{Commands: messages, Every: max(1, w.size/(2*routerCuts)), Count: routerCuts,
		Do: faultproxy.Cut})
	w.send(ctx, w.size)
}

func routerGone(ctx context.Context, w *world) {
	w.route.SetGone(true)
	w.counts(w.route.Refused)
	w.await(ctx, "the operator has noticed that the router is gone", func() (string, bool) {
		s := w.server()
		framework.Must(w.cluster.admin.Get(ctx, client.ObjectKeyFromObject(s), s))
		conditions := s.Status.Conditions
		return fmt.Sprintf("%+v", conditions), meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionRouterConnected)
	})
	w.send(ctx, w.size)
	// No message waits for the announcement of another one in its conversation.
	w.await(ctx, "all messages are stored and wait for a router", func() (string, bool) {
		n := 0
		for _, o := range w.objects(ctx, w.cluster.seen) {
			if len(o.Status.Recipients) == 1 && o.Status.Recipients[0].State == v1alpha1.StateStored {
				n++
			}
		}
		return fmt.Sprintf("%d of them", n), n >= w.size
	})
	w.route.SetGone(false)
}

// deafness is how long the router answers nothing. It is longer than the operator waits for the answers of two
// connections.
const deafness = 12 * time.Second

// routerBlackHole begins with a router that answers. The operator assumes that a router that never has cannot answer.
func routerBlackHole(ctx context.Context, w *world) {
	w.send(ctx, w.size/4)
	w.finished(ctx)
	all := []wire.Command{wire.CommandMsgData, wire.CommandUsersStatReq, wire.CommandUsersStatRsp, wire.CommandHeartBeat}
	in := w.onRoute(faultproxy.Rule{Commands: all, Do: faultproxy.Drop})
	out := w.route.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: all, Do: faultproxy.Drop})
	w.send(ctx, w.size-w.size/4)
	framework.Must(in.Await(ctx, w.caught()))
	after(ctx, deafness)
	// The old connections end, because they would answer about lost messages.
	w.route.SetGone(true)
	in.Remove()
	out.Remove()
	w.route.SetGone(false)
}
