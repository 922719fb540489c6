// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/fairqueue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// executor executes the steps of one recipient. It holds the conversation while it works, so that messages are sent in
// order, one at a time. It holds its slot until it has nothing to send, or waits for a long time. It has a goroutine
// only while it executes steps. See park.
type executor struct {
	engine *Engine
	task   *task
	// index of the recipient in the task.
	index int
	place *queue.Place
	// graceEnd is until when the recipient may hold back its successors, once it waits.
	graceEnd time.Time
	// heldSince is when the recipient began to wait for a change of its group, or zero.
	heldSince time.Time
	parking
}

// pause describes the wait of a recipient that has no step to execute.
type pause struct {
	// ended is true if no step is left.
	ended bool
	// waits: for one of these, for the conversation, or for a change of the task.
	waits bool
	until time.Time // zero: no time
	peer  peerOf    // zero: no connection
}

// run executes steps until there is nothing to do for now.
func (x *executor) run() {
	for {
		x.engine.workers.listen(x)
		switch p := x.advance(); {
		case p.ended:
			x.place.Release()
			x.engine.stopped(x.task)
			x.place.Done()
			x.engine.unfinished.Done()
			return
		case p.waits && x.engine.workers.park(x, p):
			return
		}
	}
}

// advance decides on the next step and executes it, if the recipient holds the conversation.
func (x *executor) advance() pause {
	// Taken before the task is read: it ends if that changes.
	ctx, cancel := x.task.waitContext(x.index)
	defer cancel()
	t, p := x.task.recipient(x.index)
	began := time.Now()
	step, until := nextStep(p, x.engine.environment(t))
	if p.State == v1alpha1.StateStored {
		x.place.ReleaseSlot()
	}
	refusal, refused := t.refusal(p)
	expiry := pause{waits: true, until: p.expiresAt(t.Policy)}
	switch {
	case step == StepDone, x.isStopped(step):
		return pause{ended: true}
	case step == StepWaitRouter: // without the conversation: all that wait go on together
		return x.awaitRouter(t, p)
	case step == StepWaitReady && !refused:
		return x.awaitConnection(t, p, began)
	}
	acquired := x.place.Acquire()
	switch {
	case !acquired && x.task.ctx.Err() != nil, x.isStopped(step):
		return pause{ended: true}
	case refused && step.mayFail(acquired):
		x.set(p.fail(refusal.Reason, refusal.Message))
		return pause{ended: true}
	case step == StepExpire:
		x.record(step, began, p, afterDeadline(p))
		return pause{ended: true}
	case !acquired:
		return expiry
	case step.canYield() && x.task.ctx.Err() == nil && x.place.Requeue():
		// Older messages were added, or continue after a wait. They are first.
	case step == StepWait:
		x.giveWay(p, until, began)
		return pause{waits: true, until: earlier(until, expiry.until)}
	case t.PayloadPending && step.begins(p):
		x.place.Release()
		x.place.ReleaseSlot()
		return expiry
	default:
		return x.executeUnlessHeld(ctx, step, t, p, began)
	}
	return pause{}
}

// executeUnlessHeld executes a step. What has not begun waits for a change of its group, and keeps the conversation
// meanwhile, for the order.
func (x *executor) executeUnlessHeld(ctx context.Context, step Step, t Task, p recipientState, began time.Time) pause {
	if p.Type == v1alpha1.RecipientGroup && step.begins(p) {
		if until := x.heldUntil(t, p, began); until.After(began) {
			return pause{waits: true, until: earlier(until, p.expiresAt(t.Policy))}
		}
	}
	if after, ok := x.execute(ctx, step, t, p); ok {
		x.record(step, began, p, after)
	}
	return pause{}
}

// heldUntil returns the time until which a change of its group delays the recipient, or zero. While db_proxy is not
// connected, the time does not count, because nothing can be sent.
func (x *executor) heldUntil(t Task, p recipientState, now time.Time) time.Time {
	if t.Server.WaitReady(canceled) != nil {
		x.heldSince = time.Time{}
		x.engine.Groups.restart(groupKey{t.ServerKey, p.ID})
		return x.heldSince
	}
	until := x.engine.Groups.heldUntil(t.ServerKey, p.ID, now, x.wake)
	if until.IsZero() {
		return until
	}
	if x.heldSince.IsZero() {
		x.heldSince = now
	}
	return earlier(until, x.heldSince.Add(GroupHold))
}

// isStopped reports whether a step must not be executed: the task is stopped, and the step does not complete a sent
// message.
func (x *executor) isStopped(step Step) bool { return x.task.ctx.Err() != nil && !step.isFinishing() }

// giveWay releases the conversation of a recipient that waits beyond its grace period. A stored one has the first
// backoff as grace period. In it, the stored messages that a router has woken acquire the conversation in order.
func (x *executor) giveWay(p recipientState, until, now time.Time) {
	if x.graceEnd.IsZero() {
		x.graceEnd = now.Add(OrderGrace)
	}
	graceEnd := x.graceEnd
	if isStored(p, environment{}) {
		graceEnd = now.Add(routeBackoff.base)
	}
	if until.After(graceEnd) {
		x.place.Release()
		x.place.ReleaseSlot()
	}
}

// canceled is for calls that must not block.
var canceled = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// awaitConnection continues if db_proxy is connected, or waits for it.
func (x *executor) awaitConnection(t Task, p recipientState, now time.Time) pause {
	if t.Server.WaitReady(canceled) != nil {
		// While db_proxy is away nothing can overtake, and nothing could use the slot.
		x.place.Release()
		return pause{waits: true, until: p.expiresAt(t.Policy), peer: peerOf{TeamTalk: t.Server}}
	}
	x.giveWay(p, now, now)
	// Of the present state: the task may have got another identity meanwhile.
	x.engine.update(x.task, x.index, func(p recipientState) recipientState {
		return afterReady(p, x.engine.environment(t))
	})
	return pause{}
}

// awaitRouter continues if a router is connected, or waits for one until the time limit of a stored message. Meanwhile
// it does not block other messages. When a router wakes messages, the older ones of a conversation acquire it first.
func (x *executor) awaitRouter(t Task, p recipientState) pause {
	x.place.Release()
	x.place.ReleaseSlot()
	if t.Server.WaitRouter(canceled) != nil && !p.routeTimedOut(x.engine.environment(t)) {
		until := p.routeSince.Add(RouteTimeout)
		return pause{waits: true, until: until, peer: peerOf{TeamTalk: t.Server, router: true}}
	}
	x.engine.update(x.task, x.index, func(p recipientState) recipientState {
		return p.afterRouter(x.engine.environment(t))
	})
	return pause{}
}

// record observes a step that was executed, and keeps its result.
func (x *executor) record(step Step, began time.Time, before, after recipientState) {
	x.engine.observe(x.task, step, began, before, after)
	x.set(after.proceed(x.task.current(), time.Now()))
}

func (x *executor) set(p recipientState) {
	x.engine.update(x.task, x.index, func(recipientState) recipientState { return p })
}

// execute executes a step. It returns false if it was stopped before it had a result.
func (x *executor) execute(ctx context.Context, step Step, t Task, p recipientState) (recipientState, bool) {
	switch step {
	case StepPreflight:
		return x.preflight(t, p)
	case StepAsk:
		return x.ask(t, p)
	case StepSend:
		return x.send(ctx, t, p)
	case StepReadBack:
		return x.readBack(t, p), true
	case StepRoute:
		return x.route(t, p), true
	}
	return p, false
}

func (x *executor) preflight(t Task, p recipientState) (recipientState, bool) {
	notBefore := time.Now().Add(-directoryTTL)
	if p.State == v1alpha1.StatePending || p.missing != "" {
		notBefore = later(notBefore, p.wakeAt) // results from before the last failure do not count
	}
	snapshot, err := x.engine.directory.get(x.task.ctx, t, p.Recipient, notBefore)
	if x.task.ctx.Err() != nil {
		return p, false
	}
	return afterPreflight(p, snapshot, err, t.Sender, x.engine.environment(t)), true
}

func (x *executor) ask(t Task, p recipientState) (recipientState, bool) {
	askedAt := time.Now()
	if sent, known := x.engine.keyedAttempts.latest(t.fingerprint(p).Token); known && t.shared() {
		p = p.sentUnderKey(sent)
	}
	result, err := x.engine.searchStore(x.task.ctx, t, p, askedAt)
	if x.task.ctx.Err() != nil {
		return p, false
	}
	if result.Row != nil && !p.sentAt.IsZero() {
		x.noteStored(t, p, result.Row, time.Now())
	}
	return afterAsk(p, result, err, askedAt, x.engine.environment(t)), true
}

// noteStored remembers a row that this process has sent, and the time by which db_proxy had stored it. If it was
// acknowledged, that is the time of the attempt.
func (x *executor) noteStored(t Task, p recipientState, row *wire.MsgInfo, storedAt time.Time) {
	x.engine.known.noteStored(t.conversation(p), t.session(p), knownRowOf(row), p.sentAt, storedAt, t.Policy.ReplicaLag)
}

// send sends unless ctx is done before the request is written. Then it waits for the answer.
func (x *executor) send(ctx context.Context, t Task, p recipientState) (recipientState, bool) {
	if ended, ok := beforeSend(p, t); ok {
		return ended, true
	}
	release, ok := func(bool) {}, true
	if t.shared() { // other tokens are one task's only
		release, ok = x.engine.keyedAttempts.claim(t.fingerprint(p).Token, p.askedAt)
	}
	if !ok {
		// Another message with its key was sent since the search, or is being sent.
		return p.doubt(time.Now(), v1alpha1.ReasonSending, msgKeyed), true
	}
	if p.unwitnessed {
		done, ok := x.engine.known.sendUnwitnessed(t.conversation(p), p.lastAttempt)
		if !ok {
			release(false)
			p.tries = max(0, p.tries-1) // it was not attempted
			return p.doubt(time.Now(), v1alpha1.ReasonNoAnswer, "").doubtAgain(), true
		}
		defer done()
	}
	began, settled := time.Now(), &earlyLook{engine: x.engine, task: t}
	answerCtx, stopWaiting := context.WithCancel(x.engine.base)
	defer stopWaiting()
	var m dbproxy.Message
	id, err := t.Server.Send(answerCtx, ctx, t.msgType(p), func() (_ dbproxy.Message, ok bool) {
		// Key and time are of the moment at which it is sent.
		p.sentAt = time.Now()
		m, ok = t.message(p, time.Now())
		return m, ok
	}, func() { settled.start(answerCtx, p.unanswered(m, x.engine.environment(t)), stopWaiting) })
	release(mayBeStored(id, err))
	if errors.Is(err, dbproxy.ErrNotSent) && ctx.Err() != nil {
		return p, false
	}
	if row := settled.found.Load(); row != nil && (err != nil || !isMessageID(id)) {
		// Two steps, as if the answer had not come and the store had been asked then.
		x.noteStored(t, p, row, time.Now())
		doubt := p.unanswered(m, x.engine.environment(t))
		x.record(StepSend, began, p, doubt)
		x.record(StepAsk, time.Now(), doubt, doubt.adoptEarly(t, row, x.engine.environment(t)))
		return p, false
	}
	p = afterSend(p, m, id, err, x.engine.environment(t))
	if p.State == v1alpha1.StateAcknowledged {
		x.noteStored(t, p, p.row, p.lastAttempt)
	}
	return p, true
}

func (x *executor) readBack(t Task, p recipientState) recipientState {
	row, err := t.readBack(fairqueue.WithTenant(x.engine.base, t.Key.Namespace), p)
	if row != nil {
		x.engine.known.note(t.conversation(p), t.session(p), knownRowOf(row))
	}
	return afterReadBack(p, t, row, err, x.engine.environment(t))
}

func (x *executor) route(t Task, p recipientState) recipientState {
	m := dbproxy.Message{
		From: t.Sender, To: p.ID, CreateTime: p.row.GetCreateTime(),
		Type: p.row.GetMsgType(), Data: p.row.GetMsgData(),
	}
	err := t.Server.Route(x.engine.base, m, p.MessageID)
	return afterRoute(p, err, x.engine.environment(t))
}
