// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// stagedTimes assigns different seconds to the messages without a token from one sender to one recipient, so that each
// is found by its time.
type stagedTimes struct {
	mu sync.Mutex
	// last holds the latest second of each peer, until it is over.
	last *cache.Expiring
}

// peer identifies messages in one store from a sender to a recipient.
type peer struct {
	// store is a queue.StoreID, or the name of a server, which keeps its seconds when it gets another store.
	store     any
	sender    uint32
	recipient v1alpha1.Recipient
}

func newStagedTimes() *stagedTimes { return &stagedTimes{last: cache.NewExpiring()} }

// add reserves a second that a message already has, in unix seconds.
func (s *stagedTimes) add(p peer, second uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(p, max(second, s.latest(p)))
}

// next reserves, for some peers, the first second that is not before earliest and later than those of all other
// messages.
func (s *stagedTimes) next(kept, others []peer, earliest time.Time) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	second := uint32(earliest.Unix())
	for _, p := range slices.Concat(kept, others) {
		second = max(second, s.latest(p)+1)
	}
	for _, p := range kept {
		s.keep(p, second)
	}
	return second
}

func (s *stagedTimes) latest(p peer) uint32 {
	last, _ := s.last.Get(p)
	second, _ := last.(uint32)
	return second
}

func (s *stagedTimes) keep(p peer, second uint32) {
	if until := time.Until(time.Unix(int64(second)+1, 0)); until > 0 {
		s.last.Set(p, second, until)
	}
}

// Stage returns the create_time, in unix seconds, of a message without a token. No other message from the sender to
// the recipient has it. It must be recorded before the message is sent.
func (e *Engine) Stage(
	server types.NamespacedName, sender uint32, r v1alpha1.Recipient, earliest time.Time,
) uint32 {
	store, sharers := e.Queue.SharersOf(server)
	kept := []peer{{server, sender, r}}
	if store != 0 {
		kept = append(kept, peer{store, sender, r}) // a removed server may have left a second here
	}
	others := make([]peer, len(sharers))
	for i, other := range sharers { // one may have had another store when its seconds were given or recorded
		others[i] = peer{other, sender, r}
	}
	return e.staged.next(kept, others, earliest)
}

// AddStaged adds a create_time that is recorded already.
func (e *Engine) AddStaged(server types.NamespacedName, sender uint32, r v1alpha1.Recipient, second uint32) {
	e.staged.add(peer{server, sender, r}, second)
}
