package httpserver

import (
	"context"
	"sync"
)

// callers counts the requests in flight of each caller: none may take the place of
// all others.
type callers struct {
	most int

	mu       sync.Mutex
	inFlight map[string]int
}

func newCallers(most int) *callers { return &callers{most: most, inFlight: map[string]int{}} }

// enter counts one more, if there is room for it.
func (c *callers) enter(caller string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight[caller] >= c.most {
		return false
	}
	c.inFlight[caller]++
	return true
}

func (c *callers) leave(caller string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inFlight[caller]--; c.inFlight[caller] <= 0 {
		delete(c.inFlight, caller)
	}
}

// place is where a request counts. Its handler moves it, and no other goroutine.
type place struct {
	callers *callers
	caller  string
}

type placeKey struct{}

// move has the request count as another's, if there is room for it there.
func (p *place) move(to string) bool {
	if to == p.caller {
		return true
	}
	if !p.callers.enter(to) {
		return false
	}
	p.callers.leave(p.caller)
	p.caller = to
	return true
}

// Identify tells whose a request is, once that is known, and reports whether that
// caller has room for it. Until then it counts as one of the address that it comes
// from, which a proxy may share among many. Outside of a Server there is room.
func Identify(ctx context.Context, caller string) bool {
	p, ok := ctx.Value(placeKey{}).(*place)
	return !ok || p.move("caller "+caller)
}
