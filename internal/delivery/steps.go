package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/rule"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// How many rows of a conversation are asked for: few at first, more until they reach
// back far enough. None but the one that is looked for is held.
const (
	askCount    = 16
	askGrowth   = 8
	askCountMax = 65536
	// askWorth: by less than one for so many, it is not worth asking again.
	askWorth = 8
)

// readyPause keeps a connection that is up, but takes nothing, from being
// pressed without pause.
const (
	readyPause    = 50 * time.Millisecond
	readyPauseCap = time.Second
)

// deliver takes one recipient's steps until there are none left, or until it is
// stopped. It holds the conversation while it works, so that messages leave in
// order, one at a time, and its room until it has nothing to send, or waits for long.
func (e *Engine) deliver(t *task, i int, turn turn, room *spot) {
	defer turn.give()
	// holdUntil is how long the recipient may hold its successors back, counted
	// from the first time that it waits.
	var holdUntil time.Time

	for {
		ctx, cancel := t.patience(i)
		err := turn.take(ctx)
		cancel()
		p, now := t.progress(i), time.Now()
		step, until := Next(p, t.current().Policy, now)
		if p.State == v1alpha1.StateStored {
			room.give()
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
			e.took(t, step, now, p, after)
			e.set(t, i, after)
			return
		case err != nil:
			// Not its turn yet, but what it waits for may have changed.
		case step == StepWait || step == StepWaitReady:
			up := step == StepWaitReady && t.current().Server.WaitReady(atOnce) == nil
			if holdUntil.IsZero() && (step == StepWait || up) {
				holdUntil = now.Add(OrderHold)
			}
			// While db_proxy is away nobody can overtake: there is nothing to hold, and
			// nothing that others could do with the room.
			away := step == StepWaitReady && !up
			long := !away && (until.After(holdUntil) || up && now.After(holdUntil))
			if away || long || !rule.OrderHold {
				turn.give()
			}
			if long {
				room.give()
			}
			e.wait(t, i, p, step, until)
		case starting && t.refused(i, p):
			e.report(t)
			return
		case starting && t.held():
			turn.give()
			room.give()
			ctx, cancel := t.patience(i)
			<-ctx.Done()
			cancel()
		case step == StepSend && turn.overtaken():
			// Older ones have become known, or have woken up, a moment later.
			ctx, cancel := t.patience(i)
			_ = turn.yield(ctx) // taken anew, or given up, above
			cancel()
		default:
			if after, ok := e.take(t, i, step, p); ok {
				e.took(t, step, now, p, after)
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
	ctx, cancel := t.patience(i)
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

// take carries a step out; false: it was stopped before anything was learned.
func (e *Engine) take(t *task, i int, step Step, p Progress) (Progress, bool) {
	spec := t.current()
	switch step {
	case StepPreflight:
		notBefore := time.Now().Add(-lookLife)
		if p.wakeAt.After(notBefore) {
			notBefore = p.wakeAt
		}
		look, err := e.directory.look(t.ctx, spec, p.Recipient, notBefore)
		switch {
		case t.ctx.Err() != nil:
			return p, false
		case p.State == v1alpha1.StateInDoubt:
			return afterLook(p, look, err, spec.Sender, spec.Policy), true
		case err != nil:
			return afterRead(p, err, spec.Policy, time.Now(), msgNoDirectory), true
		}
		return afterPreflight(p, look, spec.Sender, spec.Policy, time.Now()), true
	case StepAsk:
		askedAt := time.Now()
		if at, sent := e.attempts.latest(spec.mark(p).Token); sent && spec.keyed() {
			// This process has: where it may be hidden, absence is not proved.
			p.firstSight = false
			if at.After(p.sentBy) {
				p.sentBy = at
			}
		}
		finding, err := spec.ask(t.ctx, p, askedAt)
		if t.ctx.Err() != nil {
			return p, false
		}
		return afterAsk(p, finding, err, askedAt, spec.Policy, time.Now()), true
	case StepSend:
		if p.part() > 0 && int(p.part()) >= spec.Payload.parts() {
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
		queue, cancel := t.patience(i)
		defer cancel()
		// Its key and its time are those of the moment at which it leaves.
		var m dbproxy.Message
		id, err := spec.Server.Send(e.base, queue, spec.msgType(p), func() (dbproxy.Message, bool) {
			built, ok := spec.message(p, time.Now())
			m = built
			return built, ok
		})
		release(!errors.Is(err, dbproxy.ErrNotSent) && (err != nil || id != 0))
		if errors.Is(err, dbproxy.ErrNotSent) && queue.Err() != nil {
			return p, false
		}
		return afterSend(p, m, id, err, spec.Policy, time.Now()), true
	case StepReadBack:
		row, err := spec.readBack(e.base, p)
		p.alone = p.alone || row != nil && spec.alone(p, row)
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
	return e.attempts.claim(spec.mark(p).Token, p.askedAt, time.Now())
}

// readBack reads the message by its id; nil if the store does not show it with
// the content that was sent.
func (t Task) readBack(ctx context.Context, p Progress) (*wire.MsgInfo, error) {
	path, err := t.Server.Path()
	if err != nil {
		return nil, err
	}
	rows, err := path.ByID(ctx, t.session(p), []uint32{p.MessageID})
	if err != nil {
		return nil, err
	}
	mark, keys := t.mark(p), t.Server.Keys()
	for _, r := range rows {
		if r.GetMsgId() != p.MessageID {
			continue
		}
		// What an earlier process found is known by its mark alone: the declared
		// text may have changed since.
		if mark.Verifies(r, keys) || p.State == v1alpha1.StateStored && mark.Matches(r, keys) {
			return r, nil
		}
	}
	return nil, nil
}

// ask looks for the message in its conversation. When enough time has passed for
// absence to be proved, it is flanked by reads that show the path is alive.
func (t Task) ask(ctx context.Context, p Progress, askedAt time.Time) (Finding, error) {
	path, err := t.Server.Path()
	if err != nil {
		return Finding{}, err
	}
	prove := !askedAt.Before(p.sentBy.Add(t.Policy.proofAfter()))
	if prove {
		if alive, err := t.alive(ctx, path, p); err != nil || !alive {
			prove = false
		}
	}
	row, whole, err := t.search(ctx, path, p)
	if err != nil || row != nil {
		return Finding{
			Row: row, Other: row != nil && rule.KeyReused && t.reused(p, row), Alone: row != nil && t.alone(p, row),
		}, err
	}
	if !rule.ProofOfAbsence {
		return Finding{Whole: true}, nil
	}
	if !prove || !whole {
		return Finding{}, nil
	}
	alive, err := t.alive(ctx, path, p)
	return Finding{Whole: alive}, err
}

// reused reports whether row, which bears the recipient's token, holds another
// text under the same key. A UID is one object's for good, and its text may have
// changed since; so may that of what has been sent already. What is on hold does
// not know its text.
func (t Task) reused(p Progress, row *wire.MsgInfo) bool {
	return t.keyed() && !t.Hold && p.Attempts == 0 && !t.mark(p).Verifies(row, t.Server.Keys())
}

// alone reports whether row, which bears the token of a first part, is no part: it was
// sent as all of a text that has become longer since. A text of several parts is on
// record before its first one leaves, so it was none of another such text.
func (t Task) alone(p Progress, row *wire.MsgInfo) bool {
	if p.part() > 0 || !t.Payload.Recorded {
		return false
	}
	mark, keys := t.mark(p), t.Server.Keys()
	return mark.Matches(row, keys) && !mark.sameContent(row, keys)
}

// search looks for the message among the newest rows of its conversation.
func (t Task) search(ctx context.Context, path dbproxy.Reads, p Progress) (*wire.MsgInfo, bool, error) {
	for count, before := uint32(askCount), uint32(0); ; {
		// A new one each time: one that has failed may still be given rows.
		s := &search{mark: t.mark(p), bound: t.bound(), keys: t.Server.Keys()}
		if err := path.Scan(ctx, t.session(p), count, s); err != nil {
			if errors.Is(err, dbproxy.ErrTooLong) {
				err = unreadableError{before}
			}
			return nil, false, err
		}
		row, whole := s.result(count)
		next := s.next(count)
		if p.askMost != 0 {
			next = min(next, p.askMost)
		}
		switch {
		case row != nil || whole:
			return row, whole, nil
		case s.mark.Reach != 0 && s.rows == 0:
			// A group in which nobody has said anything yet has nothing to hide.
			latest, err := path.LatestID(ctx, t.session(p))
			return nil, err == nil && latest == 0, err
		case s.rows < uint64(count) || next == count:
			return nil, false, nil
		}
		before, count = count, next
	}
}

// alive reports whether the reads that a history depends on return data: the
// sender's record; for a group, its members with the sender among them.
func (t Task) alive(ctx context.Context, path dbproxy.Reads, p Progress) (bool, error) {
	if p.Type == v1alpha1.RecipientUser {
		users, err := path.Users(ctx, t.Sender, []uint32{t.Sender})
		return users[t.Sender] != nil, err
	}
	groups, err := path.Groups(ctx, t.Sender, []uint32{p.ID})
	if err != nil {
		return false, err
	}
	return slices.Contains(groups[p.ID].GetGroupMemberList(), t.Sender), nil
}
