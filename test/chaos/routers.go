// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
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
		{
			name: "router-drops", clause: "the router relays nothing of some messages",
			bound: retryBound, short: true, run: routerDrops,
		},
		{
			name: "router-cut", clause: "connections to the router end with announcements on them",
			bound: retryBound, short: true, reroutes: true, run: routerCut,
		},
		{
			name: "router-gone", clause: "the router is gone while messages are stored, and comes back",
			bound: retryBound, short: true, run: routerGone,
		},
		{
			name: "router-black-hole",
			clause: "the router takes connections and whatever comes on them, relays nothing and answers nothing, and comes " +
				"back",
			bound: retryBound, short: true, run: routerBlackHole,
		},
	}
}

func routerDrops(ctx context.Context, w *world) error {
	w.onRoute(faultproxy.Rule{
		Commands: messages, Every: 5, Do: faultproxy.Drop,
		OnFire: func(f faultproxy.Frame) {
			// What is lost on the way cannot be seen by anybody.
			if which, ok := w.pieceOf(f.Message()); ok {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.unrouted[which] = true
			}
		},
	})
	return w.send(ctx, w.size)
}

// routerCuts is how many connections end.
const routerCuts = 5

// routerCut cuts connections at an announcement, which is lost with it. Nothing but
// the router's silence tells; no message may go without one.
func routerCut(ctx context.Context, w *world) error {
	w.onRoute(faultproxy.Rule{Commands: messages, Every: max(1, w.size/(2*routerCuts)), Count: routerCuts,
		Do: faultproxy.Cut})
	return w.send(ctx, w.size)
}

func routerGone(ctx context.Context, w *world) error {
	w.route.SetGone(true)
	w.counts(w.route.Refused)
	const noticed = "the operator has noticed that the router is gone"
	err := framework.Await(ctx, noticed, func(ctx context.Context) (string, bool, error) {
		s := w.server()
		err := w.lane.admin.Get(ctx, client.ObjectKeyFromObject(s), s)
		conditions := s.Status.Conditions
		return fmt.Sprintf("%+v", conditions),
			meta.IsStatusConditionFalse(conditions, v1alpha1.ConditionRouterConnected), err
	})
	if err != nil {
		return err
	}
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	err = framework.Await(ctx, "messages are stored and wait for a router",
		func(ctx context.Context) (string, bool, error) {
			objects, err := w.objects(ctx, w.lane.seen)
			n := 0
			for _, o := range objects {
				if len(o.Status.Recipients) == 1 && o.Status.Recipients[0].State == v1alpha1.StateStored {
					n++
				}
			}
			return fmt.Sprintf("%d of them", n), n >= w.caught(), err
		})
	w.route.SetGone(false)
	return err
}

// deafness is how long the router is a black hole: longer than the operator waits
// for the answers of two connections.
const deafness = 12 * time.Second

// routerBlackHole begins with a router that answers: one that never has is taken to
// be of a kind that does not.
func routerBlackHole(ctx context.Context, w *world) error {
	if err := errors.Join(w.send(ctx, w.size/4), w.finished(ctx)); err != nil {
		return err
	}
	all := []wire.Command{wire.CommandMsgData, wire.CommandUsersStatReq, wire.CommandUsersStatRsp, wire.CommandHeartBeat}
	in := w.onRoute(faultproxy.Rule{Commands: all, Do: faultproxy.Drop})
	out := w.route.Add(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: all, Do: faultproxy.Drop})
	if err := w.send(ctx, w.size-w.size/4); err != nil {
		return err
	}
	if err := errors.Join(in.Await(ctx, w.caught()), after(ctx, deafness)); err != nil {
		return err
	}
	// Who comes back does not know the connections of before. If they went on, some
	// question about what was swallowed would be answered, or some answer swallowed
	// that is about what was not.
	w.route.SetGone(true)
	in.Remove()
	out.Remove()
	w.route.SetGone(false)
	return nil
}
