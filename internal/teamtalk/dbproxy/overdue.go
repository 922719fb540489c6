// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errOverdue is the cause of closing a connection with an overdue call.
var errOverdue = errors.New("a request was not answered in time")

// awaitClose closes the connection of an overdue call after its other calls, and returns the outcome: an
// answer may still arrive before.
func (c *Client) awaitClose(ctx context.Context, cl *call) outcome {
	cn := cl.conn
	if !cn.markOverdue(cl) {
		return <-cl.done // answered concurrently
	}
	c.opts.OnChange()
	for {
		cn.endOverdue()
		select {
		case o := <-cl.done:
			if errors.Is(o.err, ErrConnectionLost) {
				o.err = ErrNoAnswer
			}
			cn.wakeOverdue() // another call may wait too
			return o
		case <-cn.idle:
		case <-ctx.Done():
			return cn.abandon(cl, time.Now(), outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())})
		}
	}
}

// markOverdue counts cl as overdue. It returns false if cl has finished.
func (cn *conn) markOverdue(cl *call) bool {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	if cn.calls[cl.seq()] != cl {
		return false
	}
	cl.overdue.Store(true)
	cn.overdue.Add(1)
	return true
}

// endOverdue closes the connection if all of its calls are overdue.
func (cn *conn) endOverdue() {
	if n := cn.overdue.Load(); n > 0 && cn.load.Load() <= n {
		cn.link.Close(errOverdue)
	}
}

func (cn *conn) wakeOverdue() {
	select {
	case cn.idle <- struct{}{}:
	default:
	}
}

// expire finishes abandoned calls after their deadlines. Lasting calls become overdue: their connection accepts
// no more requests, and they finish with it.
func (cn *conn) expire(now time.Time) {
	expired := func(cl *call) bool { return !cl.deadline.IsZero() && !cl.deadline.After(now) }
	cn.finishAll(outcome{err: ErrNoAnswer}, func(cl *call) bool { return expired(cl) && !cl.lasting })
	marked := false
	cn.mu.Lock()
	for _, cl := range cn.calls {
		if expired(cl) && cl.overdue.CompareAndSwap(false, true) {
			cn.overdue.Add(1)
			marked = true
		}
	}
	cn.mu.Unlock()
	if marked {
		cn.changed()
	}
	cn.endOverdue()
}
