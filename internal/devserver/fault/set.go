// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Fired is a fault with how often it has really fired.
type Fired struct {
	Fault
	Fired int
}

// Set holds the faults of one development server. It is safe for concurrent use.
type Set struct {
	seed uint64

	mu      sync.Mutex
	nextID  int
	armed   []*activeFault
	counts  map[Kind]int // of all faults ever, removed ones included
	changed func(added []Fault)
}

// activeFault is a fault and its effects so far.
type activeFault struct {
	Fault
	trigger Trigger
	filled  map[uint32]bool // redis-flushed: groups that a message has filled again
	running int             // group-deadlock, hung-worker: requests in flight
	locked  bool            // group-deadlock: for good
}

// NewSet returns an empty set. With equal seeds, equal faults fire for the same matching requests. Changed is called,
// without locks, after every change, with the faults that were added.
func NewSet(seed uint64, changed func(added []Fault)) *Set {
	if changed == nil {
		changed = func([]Fault) {}
	}
	return &Set{seed: seed, counts: map[Kind]int{}, changed: changed}
}

// Add adds a fault and returns its id.
func (s *Set) Add(f Fault) (int, error) {
	added, err := s.add(false, []Fault{f})
	if err != nil {
		return 0, err
	}
	return added[0].ID, nil
}

// Set replaces all faults.
func (s *Set) Set(faults ...Fault) error {
	_, err := s.add(true, faults)
	return err
}

// Clear removes all faults. It keeps the counts by kind.
func (s *Set) Clear() { _ = s.Set() }

// Remove removes one fault. It returns false if there is none with the id.
func (s *Set) Remove(id int) bool {
	s.mu.Lock()
	n := len(s.armed)
	s.armed = slices.DeleteFunc(s.armed, func(a *activeFault) bool { return a.ID == id })
	removed := len(s.armed) < n
	s.mu.Unlock()
	if removed {
		s.changed(nil)
	}
	return removed
}

func (s *Set) add(replace bool, faults []Fault) ([]Fault, error) {
	added := make([]Fault, len(faults))
	for i, f := range faults {
		var err error
		if added[i], err = f.complete(); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	if replace {
		s.armed = nil
	}
	for i := range added {
		s.nextID++
		added[i].ID = s.nextID
		f := added[i]
		random := rand.New(rand.NewPCG(s.seed, uint64(s.nextID)))
		a := &activeFault{Fault: f, filled: map[uint32]bool{}}
		a.trigger.Skip, a.trigger.Every, a.trigger.Count = f.Skip, f.Every, f.Count
		a.trigger.Chance = func() bool { return random.Float64() < a.chance() }
		s.armed = append(s.armed, a)
	}
	s.mu.Unlock()
	s.changed(added)
	return added, nil
}

// chance is the probability of the fault's happening now.
func (a *activeFault) chance() float64 {
	if a.Kind == HungWorker {
		return 1 - math.Pow(1-a.Probability, float64(a.running-1))
	}
	return a.Probability
}

// List returns the faults with how often each has fired.
func (s *Set) List() []Fired {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Fired, len(s.armed))
	for i, a := range s.armed {
		list[i] = Fired{Fault: a.Fault, Fired: a.trigger.Fired()}
	}
	return list
}

// Fired returns how often faults of the kind have fired since the start,
// removed ones included.
func (s *Set) Fired(kind Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kind]
}

// FiredByID returns how often a fault has fired. It returns 0 for a removed one.
func (s *Set) FiredByID(id int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.ID == id {
			return a.trigger.Fired()
		}
	}
	return 0
}

// Counts returns Fired for every kind that has fired.
func (s *Set) Counts() map[Kind]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := make(map[Kind]int, len(s.counts))
	maps.Copy(counts, s.counts)
	return counts
}

// First fires the first fault of the kinds that the request meets.
func (s *Set) First(r Request, wanted ...Kind) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if slices.Contains(wanted, a.Kind) && a.matches(r) && s.fire(a) {
			return a.Fault, true
		}
	}
	return Fault{}, false
}

// Matching returns the faults of the kinds that match the request. It is for callers that call Fire later, after they
// know whether the fault has an effect.
func (s *Set) Matching(r Request, wanted ...Kind) (faults []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if slices.Contains(wanted, a.Kind) && a.matches(r) {
			faults = append(faults, a.Fault)
		}
	}
	return faults
}

// Fire counts a fault whose conditions its server has checked. It returns false if the fault was removed, does not fire
// this time, or has ended.
func (s *Set) Fire(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.ID == id {
			return s.fire(a)
		}
	}
	return false
}

func (s *Set) fire(a *activeFault) bool {
	if !a.trigger.Fire() {
		return false
	}
	s.counts[a.Kind]++
	return true
}

// GroupEmpty fires redis-flushed for a read of a group that no message has
// filled again since the fault was added.
func (s *Set) GroupEmpty(r Request, group uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.Kind == RedisFlushed && a.matches(r) && !a.filled[group] && s.fire(a) {
			return true
		}
	}
	return false
}

// GroupFilled records a message to a group: its members can be read again.
func (s *Set) GroupFilled(group uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.Kind == RedisFlushed {
			a.filled[group] = true
		}
	}
}

// Enter counts a group request as in flight for group-deadlock. It reports whether the database connections are
// deadlocked. If so, drop the request. If leave is not nil, delay the request: leave ends the delay, and reports
// whether it has deadlocked meanwhile.
func (s *Set) Enter(r Request) (delay time.Duration, leave func() bool, locked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.Kind != GroupDeadlock || a.Server != r.Server {
			continue
		}
		if a.locked {
			return 0, nil, true
		}
		if !a.matches(r) || r.Session != wire.SessionType_SESSION_TYPE_GROUP {
			continue
		}
		a.running++
		if a.running > a.Limit && s.fire(a) {
			a.locked = true
			return 0, nil, true
		}
		return a.Delay, func() bool { return s.leave(a) }, false
	}
	return 0, nil, false
}

// leave ends a request in flight. Deadlocked requests remain deadlocked when the fault is removed. Later requests get
// new connections.
func (s *Set) leave(a *activeFault) (locked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.running--
	return a.locked
}

// Overlap counts a message under hung-worker. Without such a fault, leave is nil. The message takes delay, and leave
// ends it. If hung is not 0, its worker hangs until the fault with that id is removed.
func (s *Set) Overlap(r Request) (delay time.Duration, leave func(), hung int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.armed {
		if a.Kind != HungWorker || a.Server != r.Server || r.Command != wire.CommandMsgData {
			continue
		}
		a.running++
		if r.Session == wire.SessionType_SESSION_TYPE_GROUP && a.matches(r) && s.fire(a) {
			hung = a.ID
		}
		return a.Delay, func() { s.leave(a) }, hung
	}
	return 0, nil, 0
}

// Has reports whether there is a fault of the id.
func (s *Set) Has(id int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.armed, func(a *activeFault) bool { return a.ID == id })
}
