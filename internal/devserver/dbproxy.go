// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/store"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// queueLength bounds each worker's queue; reading waits while one is full.
const queueLength = 1024

// dbproxy is the behaviour of db_proxy_server.
type dbproxy struct {
	*endpoint
	store *store.Store
	// queues holds one queue per worker. Requests are assigned to them at random, as in db_proxy, which therefore keeps no
	// order.
	queues   []chan task
	handlers map[wire.Command]handler
	stopping atomic.Bool // 0x0702 was sent, the connections are not closed yet
	started  time.Time
	// audioText is the text of audio in lists of sessions.
	audioText []byte
	// stoppedAfter is the row, by fault, after which a stopped replica has none.
	stoppedAfter sync.Map // of int to *int64
}

type task struct {
	peer *peer
	pdu.PDU
}

func newDBProxy(e *endpoint, db *store.Store, messages *cipher.Cipher) *dbproxy {
	d := &dbproxy{
		endpoint: e, store: db, started: e.options.Now(), audioText: messages.Encrypt([]byte("[语音]")),
	}
	d.handlers = d.commands()
	for range e.options.Workers {
		d.queues = append(d.queues, make(chan task, queueLength))
	}
	e.handle = d.enqueue
	return d
}

func (d *dbproxy) start() {
	for _, queue := range d.queues {
		d.goroutine(func() {
			hung := 0 // the fault that makes it hang
			for {
				select {
				case t := <-queue:
					// Requests to a worker that hangs are lost until the fault is removed, which simulates a restart of db_proxy.
					if hung == 0 || !d.faults.Has(hung) {
						hung = d.execute(t)
					}
				case <-d.ctx.Done():
					return
				}
			}
		})
	}
}

func (d *dbproxy) enqueue(p *peer, f frame) {
	if f.Command == wire.CommandHeartBeat {
		return
	}
	select {
	case d.queues[rand.IntN(len(d.queues))] <- task{p, f.PDU}:
	case <-p.ctx.Done():
	}
}

// execute runs one request. If the connection has ended before, the request is dropped, as in a crash. It returns the
// fault that makes the worker hang, or 0.
func (d *dbproxy) execute(t task) (hung int) {
	if t.peer.gone() {
		return 0
	}
	h, ok := d.handlers[t.Command]
	if !ok {
		d.log.V(1).Info("ignored an unknown command", "command", t.Command)
		return 0
	}
	c, err := h(t.Body)
	if err != nil {
		d.log.V(1).Info("ignored an invalid request", "command", t.Command, "error", err.Error())
		return 0
	}
	c.about.Server, c.about.Command = fault.DBProxy, t.Command

	delay, leave, locked := d.faults.Enter(c.about)
	switch {
	case locked:
		// It waits for a database connection that is never released.
	case leave != nil:
		d.goroutine(func() {
			// A worker that waits for the database does not notice that its peer has disconnected.
			waited := d.wait(d.ctx, delay)
			if locked := leave(); waited && !locked && !t.peer.gone() {
				d.carryOut(t, c)
			}
		})
	default:
		return d.overlap(t, c)
	}
	return 0
}

// overlap executes a request under the fault that makes workers hang.
func (d *dbproxy) overlap(t task, c call) (hung int) {
	delay, leave, hung := d.faults.Overlap(c.about)
	switch {
	case leave == nil:
		d.carryOut(t, c)
	case hung != 0:
		// It hangs between storing and answering.
		d.log.Info("Fault: a worker hangs", "kind", fault.HungWorker)
		if _, err := d.run(c, Fault{}); err != nil {
			d.log.Error(err, "Cannot execute a request", "command", t.Command)
		}
		leave()
	default:
		d.goroutine(func() {
			defer leave()
			if d.wait(d.ctx, delay) && !t.peer.gone() {
				d.carryOut(t, c)
			}
		})
	}
	return hung
}

func (d *dbproxy) carryOut(t task, c call) {
	effect, _ := d.faults.First(c.about, fault.Drop, fault.IDZero, fault.IDUnknown, fault.FalseSuccess,
		fault.EmptyList, fault.CloseBeforeStore, fault.CloseAfterStore)
	if effect.Kind == fault.Drop {
		return
	}
	if !d.stopping.Load() {
		if f, ok := d.faults.First(c.about, fault.StopReceiving); ok {
			d.stopReceiving(f)
		}
	}
	if effect.Kind == fault.CloseBeforeStore && t.Command != wire.CommandMsgData {
		d.closePeers() // only a message draws an id first
		return
	}
	answer, err := d.run(c, effect)
	if err != nil {
		d.log.Error(err, "Cannot execute a request", "command", t.Command)
		return
	}
	if effect.Kind == fault.CloseBeforeStore || effect.Kind == fault.CloseAfterStore {
		d.log.Info("Fault: closing every connection", "kind", effect.Kind)
		d.closePeers()
		return
	}
	if answer == nil {
		d.log.V(1).Info("ignored a request that a stock server does not answer", "command", t.Command)
		return
	}
	d.loadAudio(c, answer)
	d.answer(t, c, answer)
}

// run executes a call under the faults that change its result.
func (d *dbproxy) run(c call, effect Fault) (proto.Message, error) {
	how := manner{effect: effect}
	if c.group != 0 {
		how.groupEmpty = d.faults.GroupEmpty(c.about, c.group)
	}
	answer, err := c.run(how)
	for _, f := range d.faults.Matching(c.about, fault.Lag, fault.ReplicaStopped, fault.TableUnreadable) {
		if err != nil {
			break
		}
		less := how
		less.view = d.restrict(how.view, f)
		var hiding proto.Message
		// Fired only where it hides something.
		if hiding, err = c.run(less); err == nil && !proto.Equal(answer, hiding) && d.faults.Fire(f.ID) {
			how, answer = less, hiding
		}
	}
	return answer, err
}

// restrict returns the view of reads under one more fault.
func (d *dbproxy) restrict(v store.View, f Fault) store.View {
	switch f.Kind {
	case fault.Lag:
		v.Lag = max(v.Lag, f.Delay)
	case fault.ReplicaStopped:
		if row, ok := d.stoppedAfter.Load(f.ID); ok && v.StoppedAfter == nil { // the first one that stopped
			v.StoppedAfter = row.(*int64)
		}
	case fault.TableUnreadable:
		v.Unreadable = append(slices.Clip(v.Unreadable), f.Table)
	}
	return v
}

// stopReplica has reads see nothing that is stored later than now.
func (d *dbproxy) stopReplica(f Fault) {
	row, err := d.store.LastRow()
	if err != nil {
		d.log.Error(err, "Cannot stop the replica")
		return
	}
	d.stoppedAfter.Store(f.ID, &row)
}

// loadAudio waits for as long as loading the sounds of an answer takes, one after the other. The worker is busy in that
// time.
func (d *dbproxy) loadAudio(c call, answer proto.Message) {
	rows, ok := answer.(interface{ GetMsgList() []*wire.MsgInfo })
	if !ok {
		return
	}
	sounds := 0
	for _, row := range rows.GetMsgList() {
		if row.GetMsgType().Audio() {
			sounds++
		}
	}
	if sounds == 0 {
		return
	}
	if f, ok := d.faults.First(c.about, fault.SlowAudio); ok {
		d.wait(d.ctx, time.Duration(sounds)*f.Delay)
	}
}

func (d *dbproxy) answer(t task, c call, answer proto.Message) {
	out, err := pdu.New(c.answer, t.Seq, answer)
	if err != nil {
		d.log.Error(err, "Cannot answer", "command", t.Command)
		return
	}
	b := out.Append(nil)
	delivery, _ := d.faults.First(c.about, fault.NoAnswer, fault.Late, fault.Reorder, fault.Repeat)
	switch delivery.Kind {
	case fault.NoAnswer:
	case fault.Late:
		t.peer.sendAfter(delivery.Delay, b)
	case fault.Reorder:
		t.peer.hold(delivery.After, delivery.Delay, b)
	case fault.Repeat:
		t.peer.send(slices.Concat(b, b))
	default:
		if d.options.Latency > 0 {
			t.peer.sendAfter(d.options.Latency, b)
			return
		}
		t.peer.send(b)
	}
}

// stopReceiving simulates SIGTERM: the server announces its end, serves for a while, and exits. A supervisor restarts
// it immediately.
func (d *dbproxy) stopReceiving(f Fault) {
	if !d.stopping.CompareAndSwap(false, true) {
		return
	}
	out, err := pdu.New(wire.CommandStopReceiving, 0, &wire.IMStopReceivePacket{Result: proto.Uint32(0)})
	if err != nil {
		d.log.Error(err, "Cannot announce the end")
		return
	}
	b := out.Append(nil)
	for _, p := range d.everyone() {
		p.send(b)
	}
	d.later(d.ctx, f.Delay, func() {
		d.closePeers()
		d.stopping.Store(false)
	})
}
