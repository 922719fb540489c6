// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/faultproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

func leaderScenarios() []scenario {
	return append(takeovers([]scenario{
		{name: "leader-paused", run: leaderPaused,
			clause: "a leader is paused past its Lease, and resumes without the API server"},
		{name: "leaders-overlap", run: leadersOverlap,
			clause: "a leader loses the API server, and sends until its gate closes"},
	}), scenario{
		name: "handover", clause: "operators are shut down under load",
		alone: true, short: true, run: handover,
	}, scenario{
		name: "handover-unrecorded", clause: "the API server refuses some statuses during a shutdown",
		alone: true, short: true, run: handoverUnrecorded,
	}, scenario{
		name: "handover-piled", clause: "the API server refuses more statuses during a shutdown than a hand-over can name",
		alone: true, run: handoverPiled,
	})
}

// If the API server can be reached, a resumed leader soon sees the delivered messages and the claim of the server. It
// drops its unsent messages, often before it has connected to db_proxy again. Otherwise, only the gate prevents the
// send.
func leaderPaused(ctx context.Context, w *world) {
	w.whilePaused(ctx, func() {
		w.leader.api.SetGone(true)
		w.replace(ctx)
		w.send(ctx, w.size/10)
	})
	w.ended(ctx, w.leader)
}

// whilePaused stops the leader with answers in flight, and wakes it after the operators that takeOver starts have sent
// everything. It must not send its unsent messages any more.
func (w *world) whilePaused(ctx context.Context, takeOver func()) {
	// Few messages are sent at a time, so that the leader has many left when it resumes.
	w.limitInFlight(ctx, 8)
	hold, held := w.hold(faultproxy.ToClient, wire.CommandMsgData)
	defer hold.Release()
	w.send(ctx, w.size)
	framework.Must(held.Await(ctx, min(8, w.caught())))
	framework.Must(w.leader.Signal(syscall.SIGSTOP))
	hold.Release()
	takeOver()
	w.finished(ctx)
	framework.Must(w.leader.Signal(syscall.SIGCONT))
}

// sendUntilEnded declares messages as long as an operator runs that has lost its Lease. The operator sees them as the
// leader does, and must not send them.
func (w *world) sendUntilEnded(ctx context.Context, o *operator) {
	for {
		select {
		case <-o.Ended():
			return
		case <-time.After(500 * time.Millisecond):
			w.send(ctx, max(1, w.size/20))
		case <-ctx.Done():
			framework.Mustf(context.Cause(ctx), "wait until the operator that lost its Lease has ended")
		}
	}
}

func (w *world) limitInFlight(ctx context.Context, n int) {
	framework.Must(framework.MergePatch(ctx, w.cluster.admin, w.server(),
		`{"spec":{"dbProxy":{"maxInFlight":%d,"maxGroupInFlight":%d}}}`, n, n))
}

// ended waits until an operator that lost its Lease has ended by itself.
func (w *world) ended(ctx context.Context, o *operator) {
	select {
	case <-o.Ended():
	case <-ctx.Done():
		framework.Mustf(context.Cause(ctx), "wait until the operator that lost its Lease has ended")
	}
}

func leadersOverlap(ctx context.Context, w *world) {
	w.limitInFlight(ctx, 4)
	// It is slow enough that the leader still has messages to send at its deadline.
	delayed := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages,
		Do: faultproxy.Delay(600 * time.Millisecond)})
	w.counts(w.leader.api.Refused)
	w.send(ctx, w.size)
	framework.Must(delayed.Await(ctx, 4))
	w.leader.api.SetGone(true)
	w.replace(ctx)
	delayed.Remove()
	w.send(ctx, w.size/10)
	w.leader.api.SetGone(false)
	w.ended(ctx, w.leader)
}

const handovers = 3

func handover(ctx context.Context, w *world) {
	leader := w.leader
	for range handovers {
		next := w.start()
		delayed := w.onDB(faultproxy.Rule{Direction: faultproxy.ToClient, Commands: messages,
			Do: faultproxy.Delay(300 * time.Millisecond)})
		w.send(ctx, (w.size+handovers-1)/handovers)
		framework.Must(delayed.Await(ctx, 1))
		framework.Must(leader.Stop(ctx))
		w.ledCleanly(ctx, next)
		delayed.Remove()
		leader = next
	}
}

func handoverUnrecorded(ctx context.Context, w *world) {
	refused := w.refuseStatuses(func(path string) bool { return strings.HasSuffix(path, "7/status") })
	w.send(ctx, w.size)
	framework.Must(refused.Await(ctx, w.size/10))
	next := w.start()
	framework.Must(w.leader.Stop(ctx))
	w.ledCleanly(ctx, next)
	w.send(ctx, w.size/10)
}

// pile is more than the UIDs that a drained Lease lists.
const pile = 1100

func handoverPiled(ctx context.Context, w *world) {
	var refused sync.Map
	w.refuseStatuses(func(path string) bool {
		refused.Store(path, true)
		return true
	})
	w.send(ctx, pile)
	w.await(ctx, "the status of every message is refused", func() (string, bool) {
		n := 0
		refused.Range(func(any, any) bool { n++; return true })
		return strconv.Itoa(n), n >= pile
	})
	next := w.start()
	framework.Must(w.leader.Stop(ctx))
	w.ledCleanly(ctx, next)
	if !strings.Contains(next.log.String(), `"unrecordedNamespaces":1`) {
		framework.Failf("the hand-over names no namespace: %s", next.log)
	}
	w.send(ctx, w.size/10)
}

// refuseStatuses makes the API server refuse the leader's status writes of messages, by path.
func (w *world) refuseStatuses(match func(path string) bool) *apiproxy.Armed {
	refused := w.leader.api.Add(apiproxy.Rule{
		Match: func(r *http.Request) bool { return apiproxy.StatusWrite(r) && match(r.URL.Path) },
		Do:    apiproxy.Refuse(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid),
	})
	w.counts(refused.Fired)
	return refused
}

// ledCleanly waits until an operator's term has begun, without a doubt.
func (w *world) ledCleanly(ctx context.Context, o *operator) {
	w.leading(ctx, o)
	if !strings.Contains(o.log.String(), `"clean":true`) {
		framework.Failf("the hand-over was not clean: %s", o.log)
	}
}
