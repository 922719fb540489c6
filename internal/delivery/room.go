package delivery

import (
	"container/heap"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// maxUnderWay is how many recipients of one server may be under way in an engine
// before it takes on more messages. Each costs memory, most of it a goroutine's; and it
// is far above what any db_proxy has in flight.
const maxUnderWay = 10_000

// rooms bound what is under way, server by server: one that is down must not keep
// another's messages waiting. Who finds no room stands in line, and the first of a line
// is called when there is room for it: one at a time, so that what becomes free is not
// promised twice, and the others are not woken for nothing. Whoever stands in line or
// was let in, and does not come or does not stay, must give its place up, or those
// behind it would wait for ever. The zero value is ready to use.
type rooms struct {
	// limit is maxUnderWay where it is 0.
	limit int

	mu     sync.Mutex
	halls  map[types.NamespacedName]*hall
	guests map[types.NamespacedName]*guest // by message
}

// hall is one server's room.
type hall struct {
	// taken are the places of recipients under way, and those that are promised.
	taken int
	line  byOrder[*guest]
}

// guest is a message in line, or one that was let in and is not submitted yet.
type guest struct {
	message, server types.NamespacedName
	size            int
	order           Order
	// index is its place in line; below 0 it is let in, and its places are taken.
	index int
	// called: it has been told to come.
	called bool
}

func (g *guest) rank() Order     { return g.order }
func (g *guest) moved(index int) { g.index = index }

// enter reports whether a message with n recipients may be taken on, and keeps places
// for them then. If not, the message stands in line. It returns who is to be called.
func (r *rooms) enter(server, message types.NamespacedName, n int, o Order) (ok bool, called []types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if before := r.drop(message); before != nil && before.server != server {
		called = r.next(before.server)
	}
	h := r.hall(server)
	g := &guest{message: message, server: server, size: n, order: o, index: -1}
	r.guests[message] = g
	if ok = r.fits(h, n) && (h.line.Len() == 0 || o.before(h.line[0].order)); ok {
		h.taken += n
	} else {
		heap.Push(&h.line, g)
	}
	return ok, append(called, r.next(server)...)
}

// take counts n recipients of a message in, in the places that were kept for it.
func (r *rooms) take(server, message types.NamespacedName, n int) []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hall(server).taken += n
	r.drop(message) // of this server: what was kept for it
	return r.next(server)
}

// leave counts one recipient out.
func (r *rooms) leave(server types.NamespacedName) []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hall(server).taken--
	return r.next(server)
}

// gone gives up what a message has in here: its place in line, or what was kept for it.
func (r *rooms) gone(message types.NamespacedName) []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g := r.drop(message); g != nil {
		return r.next(g.server)
	}
	return nil
}

// hall returns a server's hall. It needs the lock, like the following.
func (r *rooms) hall(server types.NamespacedName) *hall {
	if r.halls == nil {
		r.halls, r.guests = map[types.NamespacedName]*hall{}, map[types.NamespacedName]*guest{}
	}
	h, ok := r.halls[server]
	if !ok {
		h = &hall{}
		r.halls[server] = h
	}
	return h
}

// drop removes a message, and returns what it was; nil: it was not here.
func (r *rooms) drop(message types.NamespacedName) *guest {
	g := r.guests[message]
	if g == nil {
		return nil
	}
	delete(r.guests, message)
	if h := r.hall(g.server); g.index >= 0 {
		heap.Remove(&h.line, g.index)
	} else {
		h.taken -= g.size
	}
	return g
}

// next calls the first in line, if there is room for it and it is not on its way.
func (r *rooms) next(server types.NamespacedName) []types.NamespacedName {
	h := r.hall(server)
	if h.taken == 0 && h.line.Len() == 0 {
		delete(r.halls, server)
		return nil
	}
	if h.line.Len() == 0 || h.line[0].called || !r.fits(h, h.line[0].size) {
		return nil
	}
	h.line[0].called = true
	return []types.NamespacedName{h.line[0].message}
}

// fits reports whether there is room for n more. Where nothing is under way there is,
// however little is allowed.
func (r *rooms) fits(h *hall, n int) bool {
	limit := r.limit
	if limit == 0 {
		limit = maxUnderWay
	}
	return h.taken == 0 || h.taken+n <= limit
}

// Room reports whether the engine takes a message with n unfinished recipients on, and
// keeps room for it then, until Submit or NoRoom. Where too much of its server is under
// way, the message stands in line, and the engine notifies when it is its turn; so it
// does until NoRoom, or until Room is asked again.
func (e *Engine) Room(server, message types.NamespacedName, n int, o Order) bool {
	if e.work.Err() != nil {
		return false
	}
	ok, called := e.rooms.enter(server, message, n, o)
	e.call(called)
	return ok
}

// NoRoom says that a message does not want the room, or the place in line, that it was
// given: it is gone, or waits for something else now. Of others it does nothing.
func (e *Engine) NoRoom(message types.NamespacedName) { e.call(e.rooms.gone(message)) }

// call notifies those for whom there is room. An engine that drains has none.
func (e *Engine) call(messages []types.NamespacedName) {
	if e.work.Err() != nil {
		return
	}
	for _, key := range messages {
		e.notify(key)
	}
}

// spot is the place that one recipient under way has. It is given up once, when
// nothing is left to be sent, or what is left has to wait for long: what waits for a
// router or in doubt, which may take an hour, must not keep others from being sent.
type spot struct {
	engine *Engine
	server types.NamespacedName
	once   sync.Once
}

func (s *spot) give() {
	s.once.Do(func() { s.engine.call(s.engine.rooms.leave(s.server)) })
}
