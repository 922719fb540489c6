package delivery

import (
	"container/heap"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Arrival is a message that has become known.
type Arrival struct {
	Key types.NamespacedName
	UID types.UID
	// Version is the resourceVersion of what was seen.
	Version string
	Server  types.NamespacedName
	// Order of the message; its Seen is kept from the first time that it is entered.
	Order      Order
	Recipients []Recipient
}

// Arrivals is a register of the messages that are not finished. Several workers
// look at messages at once; the register sees to it that of those through one
// server to one recipient, the older ones are looked at first. A message enters it
// when it becomes known, in whatever order, and checks in when it has been looked
// at; until then younger ones wait. There is always one that waits for nobody, as
// they wait by one Order: it is the oldest.
type Arrivals struct {
	// wake is told who need wait no longer. It must not block.
	wake func(types.NamespacedName)

	mu    sync.Mutex
	known map[types.UID]*arrival
	names map[types.NamespacedName]types.UID
	lines map[place]*line
}

// place is where messages meet: those to one recipient through one server, whoever
// speaks.
type place struct {
	server types.NamespacedName
	to     Recipient
}

// line is those who have not checked in at a place.
type line struct{ byOrder[*stand] }

// stand is an arrival's in a line.
type stand struct {
	*arrival
	at    place
	index int
}

func (s *stand) rank() Order     { return s.order }
func (s *stand) moved(index int) { s.index = index }

type arrival struct {
	key     types.NamespacedName
	uid     types.UID
	version string
	order   Order
	// stands: where it has not checked in; nil once it has.
	stands []*stand
	// behind counts the lines in which it is not the first.
	behind int
	// turnedAway: it has come for its turn, and is woken when it has it.
	turnedAway bool
	// yielded: it has let others be looked at first, see Yield.
	yielded bool
}

// NewArrivals returns an empty register that calls wake, which must not block, for
// a message that was told to wait and has its turn.
func NewArrivals(wake func(types.NamespacedName)) *Arrivals {
	return &Arrivals{
		wake: wake, known: map[types.UID]*arrival{}, names: map[types.NamespacedName]types.UID{}, lines: map[place]*line{},
	}
}

// Enter makes a message known that is not finished. One that is known stays where
// it is.
func (a *Arrivals) Enter(m Arrival) {
	a.mu.Lock()
	if e, ok := a.known[m.UID]; ok {
		e.version = m.Version
		a.mu.Unlock()
		return
	}
	var woken []types.NamespacedName
	if before, ok := a.known[a.names[m.Key]]; ok {
		woken = a.drop(before)
	}
	e := &arrival{key: m.Key, uid: m.UID, version: m.Version, order: m.Order}
	a.known[m.UID], a.names[m.Key] = e, m.UID
	a.stand(e, m.Server, m.Recipients)
	a.mu.Unlock()
	a.wakeAll(woken)
}

// Again makes a message that has checked in stand in line anew: what it waited for
// has come, and others that wait for the same must not pass it.
func (a *Arrivals) Again(m Arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.known[m.UID]; ok && e.stands == nil {
		a.stand(e, m.Server, m.Recipients)
	}
}

func (a *Arrivals) stand(e *arrival, server types.NamespacedName, to []Recipient) {
	e.stands = make([]*stand, 0, len(to))
	e.behind = 0
	stands := map[Recipient]bool{}
	for _, r := range to {
		if stands[r] {
			continue // it would wait for itself
		}
		stands[r] = true
		s := &stand{arrival: e, at: place{server, r}}
		e.stands = append(e.stands, s)
		l, ok := a.lines[s.at]
		if !ok {
			l = &line{}
			a.lines[s.at] = l
		}
		var first *stand
		if len(l.byOrder) > 0 {
			first = l.byOrder[0]
		}
		heap.Push(l, s)
		switch {
		case s.index > 0:
			e.behind++
		case first != nil:
			first.behind++
		}
	}
}

// Seen returns the resourceVersion at which a message was first seen; false: it is
// not known, its arrival is still on its way.
func (a *Arrivals) Seen(uid types.UID) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.known[uid]
	if !ok {
		return "", false
	}
	return e.order.Seen, true
}

// Yield reports, once for each message, that it is to let others be looked at first. It
// keeps its place in line: those of its own conversations still wait for it.
func (a *Arrivals) Yield(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.known[uid]
	if !ok || e.yielded {
		return false
	}
	e.yielded = true
	return true
}

// Turn reports whether no older message is still to be looked at. If one is, the
// message is woken when it has its turn.
func (a *Arrivals) Turn(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, ok := a.known[uid]
	if !ok || e.behind == 0 {
		return true
	}
	e.turnedAway = true
	return false
}

// CheckIn says that a message has been looked at: younger ones need not wait for it.
func (a *Arrivals) CheckIn(uid types.UID) {
	a.mu.Lock()
	var woken []types.NamespacedName
	if e, ok := a.known[uid]; ok {
		woken = a.checkIn(e)
	}
	a.mu.Unlock()
	a.wakeAll(woken)
}

func (a *Arrivals) checkIn(e *arrival) (woken []types.NamespacedName) {
	for _, s := range e.stands {
		l, wasFirst := a.lines[s.at], s.index == 0
		heap.Remove(l, s.index)
		if len(l.byOrder) == 0 {
			delete(a.lines, s.at)
			continue
		}
		if !wasFirst {
			continue
		}
		first := l.byOrder[0]
		if first.behind--; first.behind == 0 && first.turnedAway {
			first.turnedAway = false
			woken = append(woken, first.key)
		}
	}
	e.stands, e.behind, e.turnedAway = nil, 0, false
	return woken
}

// Leave drops a message that is finished, unless it was seen at another version
// than that meanwhile: it may have been edited.
func (a *Arrivals) Leave(uid types.UID, version string) {
	a.mu.Lock()
	var woken []types.NamespacedName
	if e, ok := a.known[uid]; ok && !(Order{Seen: version}).before(Order{Seen: e.version}) {
		woken = a.drop(e)
	}
	a.mu.Unlock()
	a.wakeAll(woken)
}

// Gone drops the message of a name whose object is gone; with a uid, unless it is
// that object's.
func (a *Arrivals) Gone(key types.NamespacedName, except types.UID) {
	a.mu.Lock()
	var woken []types.NamespacedName
	if e, ok := a.known[a.names[key]]; ok && e.uid != except {
		woken = a.drop(e)
	}
	a.mu.Unlock()
	a.wakeAll(woken)
}

func (a *Arrivals) drop(e *arrival) (woken []types.NamespacedName) {
	woken = a.checkIn(e)
	delete(a.known, e.uid)
	if a.names[e.key] == e.uid {
		delete(a.names, e.key)
	}
	return woken
}

func (a *Arrivals) wakeAll(keys []types.NamespacedName) {
	for _, key := range keys {
		a.wake(key)
	}
}
