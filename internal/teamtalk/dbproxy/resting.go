package dbproxy

import (
	"sync"
	"time"
)

// probePauses: a db_proxy that answers no group request at all is given one more after
// a pause, which doubles up to so many times the first.
const probePauses = 3

// resting are the slots of group requests whose connections were ended as nothing was
// answered. Ending a connection ends nothing in db_proxy: it keeps database connections
// for each of them, for as long as it hangs. So a slot is kept for a time, and then
// until some other group request has been answered since. Without one, a single slot at
// a time is given up: the request that takes it shows whether db_proxy is back. The
// zero value is ready to use.
type resting struct {
	mu sync.Mutex
	// answers counts group requests that were answered.
	answers uint64
	// stuck are the slots that have had their time, oldest first.
	stuck []func()
	// probing: one was given up not long ago, and pause is for how long no other is;
	// 0: db_proxy has answered.
	probing bool
	pause   time.Duration
}

// answered says that db_proxy has answered a group request.
func (r *resting) answered() {
	r.mu.Lock()
	stuck := r.stuck
	r.answers++
	r.stuck, r.pause = nil, 0
	r.mu.Unlock()
	for _, release := range stuck {
		release()
	}
}

// add keeps a slot for a time at least. Where it may not be given up then, unused says
// whether one that was has not been taken yet.
func (r *resting) add(release func(), atLeast time.Duration, unused func() bool) {
	r.mu.Lock()
	before := r.answers
	r.mu.Unlock()
	time.AfterFunc(atLeast, func() {
		r.mu.Lock()
		if r.answers != before {
			r.mu.Unlock()
			release()
			return
		}
		r.stuck = append(r.stuck, release)
		r.mu.Unlock()
		r.probe(atLeast, unused)
	})
}

// probe gives one slot up, unless one was not long ago.
func (r *resting) probe(first time.Duration, unused func() bool) {
	free := unused()
	r.mu.Lock()
	if r.probing || len(r.stuck) == 0 {
		r.mu.Unlock()
		return
	}
	r.pause = min(max(first, 2*r.pause), probePauses*first)
	r.probing = true
	time.AfterFunc(r.pause, func() {
		r.mu.Lock()
		r.probing = false
		r.mu.Unlock()
		r.probe(first, unused)
	})
	release := func() {}
	if !free {
		release, r.stuck = r.stuck[0], r.stuck[1:]
	}
	r.mu.Unlock()
	release()
}
