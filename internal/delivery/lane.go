package delivery

import (
	"container/heap"
	"context"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// conversation is what must be sent in order, one at a time: db_proxy executes
// requests in no order, and concurrent first messages can create a conversation
// twice.
type conversation struct {
	// store is the name of the message store, or one of its addresses.
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
	mu     sync.Mutex
	stores stores
	held   map[conversation]*lane
}

type lane struct {
	// holding are the holders: one, or several where stores have turned out to be one
	// while their conversations were held.
	holding []Order
	waiting byOrder[*waiter]
}

type waiter struct {
	order   Order
	granted chan struct{}
	index   int
}

func (w *waiter) rank() Order     { return w.order }
func (w *waiter) moved(index int) { w.index = index }

// join has the db_proxy addresses of a server be of one store: their conversations are
// the same from now on.
func (l *lanes) join(server types.NamespacedName, addresses []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stores.join(server, addresses, func(from, to string) {
		for c, ln := range l.held {
			if c.store != from {
				continue
			}
			delete(l.held, c)
			c.store = to
			other, taken := l.held[c]
			if !taken {
				l.held[c] = ln
				continue
			}
			other.holding = append(other.holding, ln.holding...)
			for _, w := range ln.waiting {
				heap.Push(&other.waiting, w)
			}
		}
	})
}

// lane returns a conversation under the name that its store has now, and its lane; nil
// where nobody holds it. It needs the lock.
func (l *lanes) lane(c conversation) (conversation, *lane) {
	c.store = l.stores.of(c.store)
	return c, l.held[c]
}

// enter asks for the conversation, and is granted it at once if it is free. What
// is entered must be awaited.
func (l *lanes) enter(c conversation, o Order) *waiter {
	w := &waiter{order: o, granted: make(chan struct{}), index: -1}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[conversation]*lane{}
	}
	c, ln := l.lane(c)
	if ln == nil {
		ln = &lane{}
		l.held[c] = ln
	}
	heap.Push(&ln.waiting, w)
	l.grant(c, ln)
	return w
}

// yield gives a conversation that is held to the oldest message that waits for
// it, and waits for it again. Doing both at once lets no younger one in between.
func (l *lanes) yield(ctx context.Context, c conversation, o Order) (release func(), err error) {
	w := &waiter{order: o, granted: make(chan struct{})}
	l.mu.Lock()
	now, ln := l.lane(c)
	heap.Push(&ln.waiting, w)
	ln.leave(o)
	l.grant(now, ln)
	l.mu.Unlock()
	return l.await(ctx, c, w)
}

// await waits until w, which waits for c, is granted it, and returns how to give
// it back, once.
func (l *lanes) await(ctx context.Context, c conversation, w *waiter) (release func(), err error) {
	select {
	case <-w.granted:
		return func() { l.release(c, w.order) }, nil
	default:
	}
	select {
	case <-w.granted:
		return func() { l.release(c, w.order) }, nil
	case <-ctx.Done():
		l.mu.Lock()
		granted := w.index < 0
		if !granted {
			_, ln := l.lane(c)
			heap.Remove(&ln.waiting, w.index)
		}
		l.mu.Unlock()
		if granted {
			// Granted at the same moment: pass it on.
			l.release(c, w.order)
		}
		return nil, ctx.Err()
	}
}

// overtaken reports whether an older message waits for the conversation, or holds it
// as well, than the one in whose Order it is held.
func (l *lanes) overtaken(c conversation, o Order) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ln := l.lane(c)
	if ln == nil {
		return false
	}
	older := func(other Order) bool { return other.before(o) }
	return ln.waiting.Len() > 0 && older(ln.waiting[0].order) || slices.ContainsFunc(ln.holding, older)
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

func (l *lanes) release(c conversation, o Order) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ln := l.lane(c)
	ln.leave(o)
	l.grant(c, ln)
}

// leave takes one of the holders out.
func (ln *lane) leave(o Order) {
	i := slices.Index(ln.holding, o)
	ln.holding = slices.Delete(ln.holding, i, i+1)
}

// grant passes a conversation that nobody holds on to the oldest of those that wait,
// or forgets it.
func (l *lanes) grant(c conversation, ln *lane) {
	switch {
	case len(ln.holding) > 0:
	case ln.waiting.Len() == 0:
		delete(l.held, c)
	default:
		w := heap.Pop(&ln.waiting).(*waiter)
		ln.holding = append(ln.holding, w.order)
		close(w.granted)
	}
}

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
