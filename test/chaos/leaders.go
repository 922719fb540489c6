// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func leaderScenarios() []scenario {
	return []scenario{
		{
			name: "leader-paused", clause: "a leader is stopped past its Lease, and woken when another has taken over",
			bound: takeoverBound, alone: true, reroutes: true, run: leaderPaused,
		},
		{
			name: "leaders-overlap", clause: "a leader is cut off from the API server, and goes on sending until its time is up",
			bound: takeoverBound, alone: true, reroutes: true, run: leadersOverlap,
		},
		{
			name: "handover", clause: "operators are shut down in order under load, and the next one goes on at once",
			bound: retryBound, alone: true, short: true, run: handover,
		},
	}
}

func leaderPaused(ctx context.Context, w *world) error {
	// Few at a time, so that the leader has much left to send when it is woken.
	if err := w.bound(ctx, 8); err != nil {
		return err
	}
	hold := &faultproxy.Hold{}
	held := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: []wire.Command{wire.CommandMsgData},
		Match: hold.Keeps, Do: hold.Do})
	defer hold.Release()
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := held.Await(ctx, min(8, w.caught())); err != nil {
		return err
	}
	if err := w.leader.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	hold.Release()
	if err := w.replace(ctx); err != nil {
		return err
	}
	if err := w.send(ctx, w.size/10); err != nil {
		return err
	}
	if err := w.finished(ctx); err != nil {
		return err
	}
	// All is sent. What the leader had still to send, it must not send any more.
	if err := w.leader.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	return w.ended(ctx, w.leader)
}

// bound lowers what the server lets be in flight.
func (w *world) bound(ctx context.Context, n int) error {
	s := w.server()
	return w.lane.admin.Patch(ctx, s, client.RawPatch("application/merge-patch+json",
		fmt.Appendf(nil, `{"spec":{"dbProxy":{"maxInFlight":%d,"maxGroupInFlight":%d}}}`, n, n)))
}

// ended waits until an operator that lost its Lease has ended by itself.
func (w *world) ended(ctx context.Context, o *operator) error {
	return framework.Await(ctx, "the operator that lost its Lease has ended", func(context.Context) (string, bool, error) {
		select {
		case <-o.Ended():
			return "", true, nil
		default:
			return "it runs", false, nil
		}
	})
}

func leadersOverlap(ctx context.Context, w *world) error {
	if err := w.bound(ctx, 4); err != nil {
		return err
	}
	// Slow enough that the leader still has work when its time is up.
	const slow = 600 * time.Millisecond
	delayed := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: []wire.Command{wire.CommandMsgData},
		Do: faultproxy.Delay(slow)})
	w.counts(w.leader.api.Refused)
	if err := w.send(ctx, w.size); err != nil {
		return err
	}
	if err := delayed.Await(ctx, 4); err != nil {
		return err
	}
	w.leader.api.SetGone(true)
	if err := w.replace(ctx); err != nil {
		return err
	}
	delayed.Remove()
	if err := w.send(ctx, w.size/10); err != nil {
		return err
	}
	w.leader.api.SetGone(false)
	return w.ended(ctx, w.leader)
}

// handovers is how often in a row.
const handovers = 3

func handover(ctx context.Context, w *world) error {
	leader := w.leader
	for range handovers {
		next, err := w.start(ctx)
		if err != nil {
			return err
		}
		delayed := w.onDB(faultproxy.Rule{
			Direction: faultproxy.ToClient, Commands: []wire.Command{wire.CommandMsgData},
			Do: faultproxy.Delay(300 * time.Millisecond),
		})
		if err := errors.Join(w.send(ctx, (w.size+handovers-1)/handovers), delayed.Await(ctx, 1)); err != nil {
			return err
		}
		if err := leader.Stop(ctx); err != nil {
			return err
		}
		if err := w.ledCleanly(ctx, next); err != nil {
			return err
		}
		delayed.Remove()
		leader = next
	}
	return nil
}

// ledCleanly waits until an operator's term has begun, without a doubt.
func (w *world) ledCleanly(ctx context.Context, o *operator) error {
	if err := w.leading(ctx, o); err != nil {
		return err
	}
	if !strings.Contains(o.log.String(), `"clean":true`) {
		return fmt.Errorf("the hand-over was not clean: %s", o.log)
	}
	return nil
}
