package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

// readyPause keeps a connection that is up, but takes nothing, from being
// pressed without pause.
const (
	readyPause    = 50 * time.Millisecond
	readyPauseCap = time.Second
)

// deliver takes one recipient's steps until there are none left, or until it is
// stopped. It holds the conversation while it works, so that messages leave in
// order, one at a time, and its slot until it has nothing to send, or waits for long.
func (e *Engine) deliver(t *task, i int, place *queue.Place) {
	defer place.Release()
	// holdUntil is how long the recipient may hold its successors back, counted
	// from the first time that it waits.
	var holdUntil time.Time

	for {
		ctx, cancel := t.waitContext(i)
		err := place.Acquire(ctx)
		cancel()
		p, now := t.progress(i), time.Now()
		step, until := Next(p, t.current().Policy, now)
		if p.State == v1alpha1.StateStored {
			place.ReleaseSlot()
		}
		// What is in doubt is not sent, whatever is asked about it.
		starting := step.starting() && p.State != v1alpha1.StateInDoubt
		switch {
		case t.ctx.Err() != nil && (err != nil || !step.finishing()):
			return
		case step == StepDone:
			return
		case step == StepExpire:
			after := afterDeadline(p)
			e.observe(t, step, now, p, after)
			e.set(t, i, after)
			return
		case err != nil:
			// Not its turn yet, but what it waits for may have changed.
		case step == StepWait || step == StepWaitReady:
			up := step == StepWaitReady && t.current().Server.WaitReady(atOnce) == nil
			if holdUntil.IsZero() && (step == StepWait || up) {
				holdUntil = now.Add(OrderGrace)
			}
			// While db_proxy is away nobody can overtake: there is nothing to hold, and
			// nothing that others could do with the slot.
			away := step == StepWaitReady && !up
			long := !away && (until.After(holdUntil) || up && now.After(holdUntil))
			if away || long {
				place.Release()
			}
			if long {
				place.ReleaseSlot()
			}
			e.wait(t, i, p, step, until)
		case starting && t.refused(i, p):
			e.report(t)
			return
		case starting && t.payloadPending():
			place.Release()
			place.ReleaseSlot()
			ctx, cancel := t.waitContext(i)
			<-ctx.Done()
			cancel()
		case step == StepSend && place.Requeue():
			// Older messages have become known, or go on after a wait: they are first.
		default:
			if after, ok := e.execute(t, i, step, p); ok {
				e.observe(t, step, now, p, after)
				e.set(t, i, after.proceed(t.current(), time.Now()))
			}
		}
	}
}

// atOnce is for what must not wait.
var atOnce = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// wait waits for a time or for db_proxy, within the recipient's patience.
func (e *Engine) wait(t *task, i int, p Progress, step Step, until time.Time) {
	ctx, cancel := t.waitContext(i)
	defer cancel()
	if step == StepWait {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return
	}
	if t.current().Server.WaitReady(ctx) != nil && ctx.Err() == context.DeadlineExceeded || t.ctx.Err() != nil {
		return
	}
	// Connected, or with another server to try. What the directory said before the
	// connection was lost may be out of date.
	p.waitReady, p.checked = false, false
	p.asked = 0 // what could not be asked does not count
	p.unsent++
	p.wakeAt = time.Now().Add(exponential(readyPause, readyPauseCap, p.unsent))
	e.set(t, i, p)
}

// execute carries a step out; false: it was stopped before anything was learned.
func (e *Engine) execute(t *task, i int, step Step, p Progress) (Progress, bool) {
	spec := t.current()
	switch step {
	case StepPreflight:
		notBefore := time.Now().Add(-directoryTTL)
		if p.wakeAt.After(notBefore) {
			notBefore = p.wakeAt
		}
		snapshot, err := e.directory.get(t.ctx, spec, p.Recipient, notBefore)
		switch {
		case t.ctx.Err() != nil:
			return p, false
		case p.State == v1alpha1.StateInDoubt:
			return afterPreflightInDoubt(p, snapshot, err, spec.Sender, spec.Policy), true
		case err != nil:
			return afterRead(p, err, spec.Policy, time.Now(), msgNoDirectory), true
		}
		return afterPreflight(p, snapshot, spec.Sender, spec.Policy, time.Now()), true
	case StepAsk:
		askedAt := time.Now()
		if at, sent := e.keyedAttempts.latest(spec.fingerprint(p).Token); sent && spec.keyed() {
			// This process has: where it may be hidden, absence is not proved.
			p.unseenKey = false
			if at.After(p.lastAttempt) {
				p.lastAttempt = at
			}
		}
		finding, err := spec.searchStore(t.ctx, p, askedAt)
		if t.ctx.Err() != nil {
			return p, false
		}
		return afterAsk(p, finding, err, askedAt, spec.Policy, time.Now()), true
	case StepSend:
		if p.partIndex() > 0 && int(p.partIndex()) >= spec.Payload.partCount() {
			return p.complete(), true
		}
		if len(spec.Payload.Data) == 0 {
			// Never meant to come here: an empty message would be stored as one.
			return p.fail(v1alpha1.ReasonContentEmpty, msgNothing), true
		}
		release, ok := e.claim(spec, p)
		if !ok {
			// Another one with its key has been sent since the store was asked, or is being.
			return p.doubt(time.Now(), v1alpha1.ReasonSending, msgKeyed), true
		}
		// Once it is written, its answer is worth waiting for, whatever becomes of
		// the task; before, it is not.
		waiting, cancel := t.waitContext(i)
		defer cancel()
		// Its key and its time are those of the moment at which it leaves.
		var m dbproxy.Message
		id, err := spec.Server.Send(e.base, waiting, spec.msgType(p), func() (dbproxy.Message, bool) {
			built, ok := spec.message(p, time.Now())
			m = built
			return built, ok
		})
		release(!errors.Is(err, dbproxy.ErrNotSent) && (err != nil || id != 0))
		if errors.Is(err, dbproxy.ErrNotSent) && waiting.Err() != nil {
			return p, false
		}
		return afterSend(p, m, id, err, spec.Policy, time.Now()), true
	case StepReadBack:
		row, err := spec.readBack(e.base, p)
		p.standalone = p.standalone || row != nil && spec.isStandalone(p, row)
		return afterReadBack(p, row, err, time.Now()), true
	case StepRoute:
		m := dbproxy.Message{
			From: spec.Sender, To: p.ID, CreateTime: p.row.GetCreateTime(),
			Type: p.row.GetMsgType(), Data: p.row.GetMsgData(),
		}
		return afterRoute(p, spec.Server.Route(e.base, m, p.MessageID), time.Now()), true
	}
	return p, false
}

// claim claims the token of what bears a key; anything else is one task's own.
func (e *Engine) claim(spec Task, p Progress) (release func(sent bool), ok bool) {
	if !spec.keyed() {
		return func(bool) {}, true
	}
	return e.keyedAttempts.claim(spec.fingerprint(p).Token, p.askedAt, time.Now())
}
