// SPDX-License-Identifier: Apache-2.0

package wake

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Source is a controller's source. Unlike a channel it never blocks, and requests are coalesced in the queue. The
// zero value is ready to use.
type Source struct {
	// Map returns the objects to enqueue for a key. If nil, it is the key's own.
	Map func(types.NamespacedName) []types.NamespacedName

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	// early are the keys from before Start.
	early []types.NamespacedName
}

// Start implements source.Source.
func (s *Source) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.mu.Lock()
	early := s.early
	s.queue, s.early = queue, nil
	s.mu.Unlock()
	for _, key := range early {
		s.Wake(key)
	}
	return nil
}

// Wake enqueues the objects of the key, or keeps it until Start.
func (s *Source) Wake(key types.NamespacedName) {
	s.mu.Lock()
	queue := s.queue
	if queue == nil {
		s.early = append(s.early, key)
	}
	s.mu.Unlock()
	switch {
	case queue == nil:
	case s.Map == nil:
		queue.Add(reconcile.Request{NamespacedName: key})
	default:
		for _, k := range s.Map(key) {
			queue.Add(reconcile.Request{NamespacedName: k})
		}
	}
}
