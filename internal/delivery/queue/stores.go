// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"container/heap"
	"slices"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// StoreID identifies a message store within this process.
type StoreID uint64

// store is a message store that is shared by servers that trust each other. It exists as long as it has servers.
type store struct {
	id            StoreID
	servers       int
	conversations map[Participants]*conversation
}

// StoreChange describes a change of a server's store.
type StoreChange struct {
	// From is the former store, and To the current one. If To is 0, From has no servers any more, and Server was the last.
	// If From is 0, To is a new store, and Server is its first.
	From, To StoreID
	Server   types.NamespacedName
}

// server is a TeamTalkServer that exists, or whose messages hold or wait for conversations.
type server struct {
	key    types.NamespacedName
	exists bool
	// number orders servers by when they were added.
	number uint64
	// admits selects the other namespaces whose messages may use it. It is nil if there are none.
	admits labels.Selector
	// generations holds the addresses at which requests may be in flight. They are those of the oldest place that
	// holds or waits for a conversation, and all later ones. The last generation is the current one.
	generations []*generation
	store       *store
}

// generation is a list of addresses that a server has had.
type generation struct {
	addresses []string
	// places are those that have entered their conversations since, and before the next generation.
	places int
}

func (s *server) current() *generation { return s.generations[len(s.generations)-1] }

// SetServer records the addresses of a server that exists. Servers with a common address share a store if they are of
// one namespace, or admit the namespaces of each other.
func (q *Queue) SetServer(key types.NamespacedName, addresses []string) {
	var admits labels.Selector
	if q.Admits != nil {
		admits = q.Admits(key)
	}
	q.mu.Lock()
	defer q.unlock()
	s := q.serverOf(key)
	unchanged := slices.Equal(s.current().addresses, addresses)
	if s.exists && unchanged && s.admits == nil && admits == nil {
		return
	}
	s.exists, s.admits = true, admits
	if !unchanged {
		s.generations = append(s.generations, &generation{addresses: addresses})
		s.dropGenerations()
	}
	q.regroup(key.Namespace)
}

// Knows reports whether a server is known to exist.
func (q *Queue) Knows(key types.NamespacedName) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[key]
	return s != nil && s.exists
}

// RemoveServer records that a server was removed. It is dropped when no message of it holds or waits for a
// conversation.
func (q *Queue) RemoveServer(key types.NamespacedName) {
	q.mu.Lock()
	defer q.unlock()
	if s := q.servers[key]; s != nil {
		s.exists = false
		q.forget(s)
	}
}

// RefreshAdmits recomputes which namespaces admit each other.
func (q *Queue) RefreshAdmits() {
	q.mu.Lock()
	defer q.unlock()
	q.assign(q.openUnits())
}

// StoreOf returns the store of a server, or 0 if the server is not known.
func (q *Queue) StoreOf(key types.NamespacedName) StoreID {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.servers[key]; s != nil {
		return s.store.id
	}
	return 0
}

// SharersOf returns the store of a server, and all servers of the store. It returns 0 if the server is not known.
func (q *Queue) SharersOf(key types.NamespacedName) (id StoreID, sharers []types.NamespacedName) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[key]
	if s == nil {
		return 0, nil
	}
	for other, o := range q.servers {
		if o.store == s.store {
			sharers = append(sharers, other)
		}
	}
	return s.store.id, sharers
}

// TakeStoreChanges returns the changes since the last call, in order.
func (q *Queue) TakeStoreChanges() []StoreChange {
	q.mu.Lock()
	defer q.mu.Unlock()
	changes := q.storeChanges
	q.storeChanges = nil
	return changes
}

// serverOf returns a server. An unknown server gets a separate store.
func (q *Queue) serverOf(key types.NamespacedName) *server {
	s := q.servers[key]
	if s == nil {
		q.numbered++
		s = &server{key: key, number: q.numbered, generations: []*generation{{}}, store: q.newStore()}
		s.store.servers++
		q.storeChanges = append(q.storeChanges, StoreChange{To: s.store.id, Server: key})
		q.servers[key] = s
		n := valueOf(q.namespaces, key.Namespace)
		n.servers = append(n.servers, s)
		n.units = append(n.units, unit{s})
	}
	return s
}

func (q *Queue) newStore() *store {
	q.lastStore++
	s := &store{id: q.lastStore, conversations: map[Participants]*conversation{}}
	q.stores[s] = struct{}{}
	return s
}

// dropGenerations drops the addresses that nothing can be in flight at. It reports whether there were any.
func (s *server) dropGenerations() (dropped bool) {
	for len(s.generations) > 1 && s.generations[0].places == 0 {
		s.generations = s.generations[1:]
		dropped = true
	}
	return dropped
}

// forget drops a removed server, and addresses that no place needs any more.
func (q *Queue) forget(s *server) {
	dropped := s.dropGenerations()
	switch gone := !s.exists && len(s.generations) == 1 && s.current().places == 0; {
	case gone:
		delete(q.servers, s.key)
		n := q.namespaces[s.key.Namespace]
		n.servers = slices.DeleteFunc(n.servers, func(other *server) bool { return other == s })
		q.leaveStore(s)
	case !dropped:
		return
	}
	q.regroup(s.key.Namespace)
}

// leaveStore counts a server out of its store.
func (q *Queue) leaveStore(s *server) {
	if s.store.servers--; s.store.servers == 0 {
		delete(q.stores, s.store)
		q.storeChanges = append(q.storeChanges, StoreChange{From: s.store.id, Server: s.key})
	}
}

// regroup computes the stores of the servers of a namespace again, after one of them has changed.
func (q *Queue) regroup(key string) {
	n := q.namespaces[key]
	wasOpen := n.open
	n.regroup()
	var units []unit
	if !n.open {
		units = n.units
	}
	if n.open || wasOpen {
		units = append(units, q.openUnits()...)
	}
	q.assign(units)
	if len(n.servers) == 0 {
		delete(q.namespaces, key)
	}
}

// openUnits returns the units of the namespaces that admit others.
func (q *Queue) openUnits() []unit {
	var units []unit
	for _, n := range q.namespaces {
		if n.open {
			units = append(units, n.units...)
		}
	}
	return joinUnits(units, q.Labels)
}

// assign gives each unit one store. The servers of a store are in units of one call.
func (q *Queue) assign(units []unit) {
	taken, left := map[*store]bool{}, map[*store]bool{}
	changed := map[StoreChange]bool{}
	for _, u := range units {
		var to *store
		for _, s := range u { // the oldest, if another unit has not got it
			if !taken[s.store] && (to == nil || s.store.id < to.id) {
				to = s.store
			}
		}
		if to == nil {
			to = q.newStore()
		}
		taken[to] = true
		for _, s := range u {
			if s.store == to {
				continue
			}
			if change := (StoreChange{From: s.store.id, To: to.id}); !changed[change] {
				changed[change] = true
				q.storeChanges = append(q.storeChanges, change)
			}
			left[s.store] = true
			q.leaveStore(s)
			s.store = to
			to.servers++
		}
	}
	for from := range left {
		q.move(from)
	}
}

// move moves the places of servers that have left a store to their current stores.
func (q *Queue) move(from *store) {
	before := from.conversations
	from.conversations = map[Participants]*conversation{}
	var touched []*conversation
	for key, c := range before {
		for _, p := range c.held {
			to := p.server.store.conversation(key)
			p.conversation = to
			to.held = append(to.held, p)
			touched = append(touched, to)
		}
		for _, p := range c.waiting {
			to := p.server.store.conversation(key)
			p.conversation = to
			heap.Push(&to.waiting, p)
			touched = append(touched, to)
		}
	}
	for _, c := range touched {
		if granted := c.grant(); granted != nil {
			q.wokenPlaces = append(q.wokenPlaces, granted)
		}
	}
}
