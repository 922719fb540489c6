package delivery

import (
	"container/heap"
	"context"
	"sync"
	"time"

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

// Order says which of two messages of a conversation leaves first: by creation,
// then by when it was first seen, then by name.
type Order struct {
	Created time.Time
	// Seen counts up as messages become known.
	Seen uint64
	Name string
}

func (o Order) before(p Order) bool {
	if !o.Created.Equal(p.Created) {
		return o.Created.Before(p.Created)
	}
	if o.Seen != p.Seen {
		return o.Seen < p.Seen
	}
	return o.Name < p.Name
}

// lanes grant conversations, one holder each, in Order among those that wait.
type lanes struct {
	mu   sync.Mutex
	held map[conversation]*lane
}

type lane struct{ waiting waiters }

type waiter struct {
	order   Order
	granted chan struct{}
	index   int
}

// acquire waits for the conversation and returns how to give it back, once.
func (l *lanes) acquire(ctx context.Context, c conversation, o Order) (release func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[conversation]*lane{}
	}
	ln, taken := l.held[c]
	if !taken {
		l.held[c] = &lane{}
		l.mu.Unlock()
		return func() { l.release(c) }, nil
	}
	w := &waiter{order: o, granted: make(chan struct{})}
	heap.Push(&ln.waiting, w)
	l.mu.Unlock()
	return l.await(ctx, c, ln, w)
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
	return l.await(ctx, c, ln, w)
}

// await waits until w, which waits for c, is granted it.
func (l *lanes) await(ctx context.Context, c conversation, ln *lane, w *waiter) (release func(), err error) {
	select {
	case <-w.granted:
		return func() { l.release(c) }, nil
	case <-ctx.Done():
		l.mu.Lock()
		granted := w.index < 0
		if !granted {
			heap.Remove(&ln.waiting, w.index)
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
	// release is nil while the conversation is not held.
	release func()
}

// take waits for the conversation, unless it is held.
func (t *turn) take(ctx context.Context) (err error) {
	if t.release == nil {
		t.release, err = t.lanes.acquire(ctx, t.conversation, t.order)
	}
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

// waiters is a heap.Interface by Order.
type waiters []*waiter

func (w waiters) Len() int           { return len(w) }
func (w waiters) Less(i, j int) bool { return w[i].order.before(w[j].order) }
func (w waiters) Swap(i, j int) {
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (w *waiters) Push(x any) {
	e := x.(*waiter)
	e.index = len(*w)
	*w = append(*w, e)
}

func (w *waiters) Pop() any {
	old := *w
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	e.index = -1
	return e
}
