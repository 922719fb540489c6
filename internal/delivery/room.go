package delivery

import (
	"container/heap"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// maxUnderWay is how many recipients of one server may be unfinished in an engine
// before it takes on more messages. Each costs memory, most of it a goroutine's; and it
// is far above what any db_proxy has in flight.
const maxUnderWay = 10_000

// rooms bound what is under way, server by server: one that is down must not keep
// another's messages waiting. Who finds no room is called when there is, the oldest
// first. The zero value is ready to use.
type rooms struct {
	// limit is maxUnderWay where it is 0.
	limit int

	mu    sync.Mutex
	taken map[types.NamespacedName]int
	lines map[types.NamespacedName]*byOrder[*guest]
	known map[types.NamespacedName]*guest // by message
}

// guest is a message that waits for room.
type guest struct {
	message types.NamespacedName
	size    int
	order   Order
	index   int
}

func (g *guest) rank() Order     { return g.order }
func (g *guest) moved(index int) { g.index = index }

// take counts recipients in.
func (r *rooms) take(server types.NamespacedName, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == nil {
		r.taken = map[types.NamespacedName]int{}
	}
	r.taken[server] += n
}

// leave counts one out, and returns who may come in now.
func (r *rooms) leave(server types.NamespacedName) []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken[server]--; r.taken[server] == 0 {
		delete(r.taken, server)
	}
	return r.call(server)
}

// enter reports whether a message with n recipients may be taken on. If not, it is
// called later; those who may come in before it are returned.
func (r *rooms) enter(server, message types.NamespacedName, n int, o Order) (bool, []types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := r.lines[server]
	if r.fits(server, 0, n) && (line == nil || o.before((*line)[0].order) || (*line)[0].message == message) {
		r.forget(server, message)
		return true, nil
	}
	r.forget(server, message)
	if r.lines == nil {
		r.lines, r.known = map[types.NamespacedName]*byOrder[*guest]{}, map[types.NamespacedName]*guest{}
	}
	if line = r.lines[server]; line == nil {
		line = &byOrder[*guest]{}
		r.lines[server] = line
	}
	g := &guest{message: message, size: n, order: o}
	r.known[message] = g
	heap.Push(line, g)
	// Those before it may be gone, and nobody else would call it then.
	return false, r.call(server)
}

// fits reports whether there is room for n, beside those who were just called. Where
// nothing is under way there is, however little is allowed. It needs the lock, like the
// following.
func (r *rooms) fits(server types.NamespacedName, called, n int) bool {
	limit := r.limit
	if limit == 0 {
		limit = maxUnderWay
	}
	taken := r.taken[server] + called
	return taken == 0 || taken+n <= limit
}

// call takes those out of the line for whom there is room, the oldest first.
func (r *rooms) call(server types.NamespacedName) (called []types.NamespacedName) {
	line, planned := r.lines[server], 0
	for line != nil && line.Len() > 0 && r.fits(server, planned, (*line)[0].size) {
		g := (*line)[0]
		planned += g.size
		called = append(called, g.message)
		r.forget(server, g.message)
		line = r.lines[server]
	}
	return called
}

// forget takes a message out of the line, if it is there.
func (r *rooms) forget(server, message types.NamespacedName) {
	g, ok := r.known[message]
	if !ok {
		return
	}
	delete(r.known, message)
	line := r.lines[server]
	if heap.Remove(line, g.index); line.Len() == 0 {
		delete(r.lines, server)
	}
}

// Room reports whether the engine takes a message with n unfinished recipients on.
// Where too much of its server is under way, the engine notifies later.
func (e *Engine) Room(server, message types.NamespacedName, n int, o Order) bool {
	ok, called := e.rooms.enter(server, message, n, o)
	e.call(called)
	return ok
}

func (e *Engine) call(messages []types.NamespacedName) {
	for _, key := range messages {
		e.notify(key)
	}
}
