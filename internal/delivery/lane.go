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

func (l *lanes) release(c conversation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := l.held[c]
	if ln.waiting.Len() == 0 {
		delete(l.held, c)
		return
	}
	close(heap.Pop(&ln.waiting).(*waiter).granted)
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
	*w = old[:len(old)-1]
	e.index = -1
	return e
}
