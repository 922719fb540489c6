// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
)

// maxWorkers limits the goroutines that execute steps. One takes about 20 KB while it waits for an answer, and a
// recipient without a goroutine 1.2 KB (measured with 60,000). One server of a namespace gets about 300, several times
// the requests that a db_proxy has in flight.
const maxWorkers = 6_300

// parking is where an executor is between two of its steps. Workers guard it.
type parking struct {
	state parkingState
	// woken: something has changed since its last step was decided.
	woken bool
	// timer wakes it at the end of its pause. It may be nil.
	timer *time.Timer
	// watch is the watch of the peer for which it waits, and connected its place there. They are nil if it waits for none.
	watch     *connectionWatch
	connected *fairqueue.Item[*executor]
	// flow is the flow of its worker, and item its place in the queue for workers.
	flow fairqueue.Flow
	item *fairqueue.Item[*executor]
}

type parkingState uint8

const (
	// parkingNew executors are not started.
	parkingNew parkingState = iota
	// parkingIdle executors wait to be woken.
	parkingIdle
	// parkingQueued executors wait for a worker.
	parkingQueued
	// parkingBusy executors have one.
	parkingBusy
)

// workers assigns goroutines to executors with work, by namespace and server in turn.
type workers struct {
	mu      sync.Mutex
	waiting fairqueue.Queue[*executor]
	used    *fairqueue.Shares
	// watches are of the peers that executors wait for.
	watches map[peerOf]*connectionWatch
	// watching counts their goroutines.
	watching sync.WaitGroup
}

func newWorkers() *workers {
	return &workers{used: fairqueue.NewShares(maxWorkers, 4), watches: map[peerOf]*connectionWatch{}}
}

// begin starts a new executor.
func (w *workers) begin(x *executor) {
	w.mu.Lock()
	x.state = parkingIdle
	w.mu.Unlock()
	w.wake(x)
}

// wake has an executor decide on its next step again. It does not block.
func (w *workers) wake(x *executor) {
	flow := x.workFlow()
	w.mu.Lock()
	defer w.mu.Unlock()
	x.woken = true
	switch {
	case x.state == parkingNew, x.state == parkingBusy, x.state == parkingQueued && x.flow == flow:
		return
	case x.state == parkingQueued:
		w.waiting.Remove(x.item)
	}
	x.state, x.flow, x.item = parkingQueued, flow, w.waiting.Push(flow, x)
	w.start()
}

// start starts goroutines for waiting executors while workers are free. It needs mu.
func (w *workers) start() {
	for {
		x, ok := w.waiting.Next(func(x *executor) bool { return w.used.Fits(x.flow, 1) })
		if !ok {
			return
		}
		w.unpark(x)
		flow := x.flow
		w.used.Take(flow, 1)
		go func() {
			x.run()
			w.mu.Lock()
			defer w.mu.Unlock()
			w.used.Return(flow, 1)
			w.start()
		}()
	}
}

// unpark ends a pause. It needs mu.
func (w *workers) unpark(x *executor) {
	x.state, x.item = parkingBusy, nil
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
	if watch := x.watch; watch != nil {
		watch.waiting.Remove(x.connected)
		w.endWatch(watch)
		x.watch, x.connected = nil, nil
	}
}

// listen is called before a step is selected: park sees all later changes.
func (w *workers) listen(x *executor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	x.woken = false
}

// park ends the work on a recipient until its pause is over, or it is woken. It returns false if it was woken already.
func (w *workers) park(x *executor, p pause) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if x.woken {
		return false
	}
	x.state = parkingIdle
	if !p.until.IsZero() {
		x.timer = time.AfterFunc(time.Until(p.until), x.wake)
	}
	if p.peer.TeamTalk != nil {
		w.awaitConnection(x, p.peer)
	}
	return true
}

func (x *executor) wake() { x.engine.workers.wake(x) }

// workFlow is the flow of an executor's worker. Recipients that have not begun may wait for a long time, for the rate
// limit or for db_proxy. They must not block recipients that have begun, or that have nothing left to send. Groups wait
// for each other in db_proxy, one at a time by default. They must not block users.
func (x *executor) workFlow() fairqueue.Flow {
	t, p := x.task.recipient(x.index)
	flow := queue.FlowOf(t.Key, t.ServerKey)
	if p.State == v1alpha1.StatePending && x.task.ctx.Err() == nil && !hasExpired(p, x.engine.environment(t)) {
		flow.Name += " starting"
	}
	if p.Type == v1alpha1.RecipientGroup {
		flow.Name += " groups"
	}
	return flow
}

// peerOf is the db_proxy of a TeamTalk, or its router.
type peerOf struct {
	TeamTalk
	router bool
}

// wait blocks until it is connected, or ctx is done.
func (p peerOf) wait(ctx context.Context) error {
	if p.router {
		return p.WaitRouter(ctx)
	}
	return p.WaitReady(ctx)
}

// connectedBatch is the number of executors that are woken every connectedPause while their peer is connected: many
// times what a db_proxy stores in that time. A peer that is immediately lost again, as a hostile one may be 30 times a
// second, wakes only these.
const (
	connectedBatch = 256
	connectedPause = 10 * time.Millisecond
)

// connectionWatch holds the goroutine that waits for a peer, and the executors that it wakes: by namespace in turn, the
// oldest messages first.
type connectionWatch struct {
	peer    peerOf
	waiting *fairqueue.Queue[*executor]
	cancel  context.CancelFunc
}

// awaitConnection registers an executor to be woken when its peer is connected. It needs mu.
func (w *workers) awaitConnection(x *executor, peer peerOf) {
	x.watch = w.watches[peer]
	if x.watch == nil {
		x.watch = &connectionWatch{peer: peer, waiting: fairqueue.New(func(a, b *executor) bool {
			return a.task.spec.Order.Before(b.task.spec.Order) // it never changes
		})}
		var ctx context.Context
		ctx, x.watch.cancel = context.WithCancel(context.Background())
		w.watches[peer] = x.watch
		watch := x.watch
		w.watching.Go(func() { w.watch(ctx, watch) })
	}
	x.connected = x.watch.waiting.Push(fairqueue.Flow{Tenant: x.task.spec.Key.Namespace}, x)
}

// endWatch ends a watch that nothing waits for. It needs mu.
func (w *workers) endWatch(watch *connectionWatch) {
	if watch.waiting.Len() == 0 && w.watches[watch.peer] == watch {
		delete(w.watches, watch.peer)
		watch.cancel()
	}
}

// watch wakes the executors while their peer is connected, until none waits for it.
func (w *workers) watch(ctx context.Context, watch *connectionWatch) {
	for watch.peer.wait(ctx) == nil {
		for _, x := range w.takeConnected(watch) {
			x.wake()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(connectedPause):
		}
	}
}

// takeConnected returns the executors that are woken next.
func (w *workers) takeConnected(watch *connectionWatch) (next []*executor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(next) < connectedBatch {
		x, ok := watch.waiting.Next(nil)
		if !ok {
			break
		}
		next = append(next, x)
	}
	w.endWatch(watch)
	return next
}
