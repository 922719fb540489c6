package dbproxy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errOverdue is why a connection ended on which a message was not answered.
var errOverdue = errors.New("a request was not answered in time")

// retire ends the connection of an overdue call, once nothing else is under way
// on it, and returns how the call ended: an answer may still come meanwhile.
func (c *Client) retire(ctx context.Context, cl *call) outcome {
	cn := cl.conn
	if !cn.markOverdue(cl) {
		return <-cl.done // answered at the last moment
	}
	c.opts.OnChange()
	for {
		cn.endOverdue()
		select {
		case o := <-cl.done:
			if errors.Is(o.err, ErrConnectionLost) {
				o.err = ErrNoAnswer
			}
			cn.wakeOverdue() // another one may wait for the same
			return o
		case <-cn.idle:
		case <-ctx.Done():
			return cn.abandon(cl, time.Now(), outcome{err: fmt.Errorf("%w: %w", ErrNoAnswer, ctx.Err())})
		}
	}
}

// markOverdue counts cl as overdue; false where it has ended meanwhile.
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

// endOverdue ends the connection where all that is under way on it is overdue.
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

// expire ends what was abandoned and has not been answered until now. What is
// lasting goes with its connection, which takes no more requests from now on.
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
