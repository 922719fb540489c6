package delivery

import (
	"container/heap"
	"context"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// conversation is what must be sent in order, one at a time: db_proxy executes
// requests in no order, and concurrent first messages can create a conversation
// twice.
type conversation struct {
	store string
	typ   v1alpha1.RecipientType
	// low and high are the two users, whichever way the message goes; or 0 and the group.
	low, high uint32
}

func conversationOf(store string, sender uint32, r Recipient) conversation {
	c := conversation{store: store, typ: r.Type, high: r.ID}
	if r.Type == v1alpha1.RecipientUser {
		c.low, c.high = min(sender, r.ID), max(sender, r.ID)
	}
	return c
}

// lanes grant conversations, one holder each, in Order among those that wait.
type lanes struct {
	mu   sync.Mutex
	held map[conversation]*lane
}

type lane struct{ waiting byOrder[*waiter] }

type waiter struct {
	order   Order
	granted chan struct{}
	index   int
}

func (w *waiter) rank() Order     { return w.order }
func (w *waiter) moved(index int) { w.index = index }

// enter asks for the conversation, and is granted it at once if it is free. What
// is entered must be awaited.
func (l *lanes) enter(c conversation, o Order) *waiter {
	w := &waiter{order: o, granted: make(chan struct{}), index: -1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[conversation]*lane{}
	}
	if ln, taken := l.held[c]; taken {
		heap.Push(&ln.waiting, w)
	} else {
		l.held[c] = &lane{}
		close(w.granted)
	}
	return w
}

// yield gives a conversation that is held to the oldest message that waits for
// it, and waits for it again. Doing both at once lets no younger one in between.
func (l *lanes) yield(ctx context.Context, c conversation, o Order) (release func(), err error) {
	w := &waiter{order: o, granted: make(chan struct{})}
	l.mu.Lock()
	ln := l.held[c]
	heap.Push(&ln.waiting, w)
	ln.grant()
	l.mu.Unlock()
	return l.await(ctx, c, w)
}

// await waits until w, which waits for c, is granted it, and returns how to give
// it back, once.
func (l *lanes) await(ctx context.Context, c conversation, w *waiter) (release func(), err error) {
	select {
	case <-w.granted:
		return func() { l.release(c) }, nil
	default:
	}
	select {
	case <-w.granted:
		return func() { l.release(c) }, nil
	case <-ctx.Done():
		l.mu.Lock()
		granted := w.index < 0
		if !granted {
			heap.Remove(&l.held[c].waiting, w.index)
		}
		l.mu.Unlock()
		if granted {
			// Granted at the same moment: pass it on.
			l.release(c)
		}
		return nil, ctx.Err()
	}
}

// overtaken reports whether an older message waits for the conversation than the
// one in whose Order it is held.
func (l *lanes) overtaken(c conversation, o Order) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.held[c]
	return ln != nil && ln.waiting.Len() > 0 && ln.waiting[0].order.before(o)
}

// count returns how many conversations are held, and how many wait for one.
func (l *lanes) count() (held, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ln := range l.held {
		waiting += ln.waiting.Len()
	}
	return len(l.held), waiting
}

func (l *lanes) release(c conversation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.held[c]
	if ln.waiting.Len() == 0 {
		delete(l.held, c)
		return
	}
	ln.grant()
}

// grant passes the conversation on to the oldest of those that wait.
func (ln *lane) grant() { close(heap.Pop(&ln.waiting).(*waiter).granted) }

// turn is a message's hold of a conversation, which it gives up while it waits.
type turn struct {
	lanes        *lanes
	conversation conversation
	order        Order
	// waiter is set while the conversation is asked for, release while it is held.
	waiter  *waiter
	release func()
}

// enter asks for the conversation: those that enter later and are younger come later.
func (t *turn) enter() { t.waiter = t.lanes.enter(t.conversation, t.order) }

// take waits for the conversation, unless it is held.
func (t *turn) take(ctx context.Context) (err error) {
	if t.release != nil {
		return nil
	}
	if t.waiter == nil {
		t.enter()
	}
	t.release, err = t.lanes.await(ctx, t.conversation, t.waiter)
	t.waiter = nil
	return err
}

// overtaken reports whether an older message waits for the conversation, which is held.
func (t *turn) overtaken() bool { return t.lanes.overtaken(t.conversation, t.order) }

// yield lets the oldest message that waits go first.
func (t *turn) yield(ctx context.Context) (err error) {
	t.release, err = t.lanes.yield(ctx, t.conversation, t.order)
	return err
}

// give lets others go on in the conversation.
func (t *turn) give() {
	if t.release != nil {
		t.release()
		t.release = nil
	}
}
