package main

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
)

func routerScenarios() []scenario {
	return []scenario{
		{
			name: "router-drops", clause: "the router relays nothing of some messages",
			bound: retryBound, short: true, run: routerDrops,
		},
		{
			name: "router-cut", clause: "connections to the router end with announcements on them",
			bound: retryBound, short: true, cuts: routerCuts, run: routerCut,
		},
		{
			name: "router-gone", clause: "the router is gone while messages are stored, and comes back",
			bound: retryBound, short: true, run: routerGone,
		},
	}
}

func routerDrops(ctx context.Context, w *world) error {
	w.onRoute(faultproxy.Rule{
		Commands: messages, Every: 5, Do: faultproxy.Drop,
		OnFire: func(f faultproxy.Frame) {
			// What is lost on the way cannot be seen by anybody.
			if number, ok := w.numberIn(f.Message().GetMsgData()); ok {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.unrouted[number] = true
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
	w.onRoute(faultproxy.Rule{Commands: messages, Every: max(1, w.size/(2*routerCuts)), Count: routerCuts, Do: faultproxy.Cut})
	return w.send(ctx, w.size)
}

func routerGone(ctx context.Context, w *world) error {
	w.route.SetGone(true)
	w.counts(w.route.Refused)
	err := w.await(ctx, "the operator has noticed that the router is gone", func(ctx context.Context) (string, bool, error) {
		s := w.server()
		err := w.lane.admin.Get(ctx, client.ObjectKeyFromObject(s), s)
		return fmt.Sprintf("%+v", s.Status.Conditions), meta.IsStatusConditionFalse(s.Status.Conditions, v1alpha1.ConditionRouterConnected), err
	})
	if err != nil {
		return err
	}
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	err = w.await(ctx, "messages are stored and wait for a router", func(ctx context.Context) (string, bool, error) {
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
