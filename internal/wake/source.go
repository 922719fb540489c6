// SPDX-License-Identifier: Apache-2.0

// Package wake lets what is not an API object, such as a connection or a
// delivery under way, enqueue reconcile requests.
package wake

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Source is a controller's source. Unlike a channel it never blocks who wakes,
// and it coalesces as the queue does. The zero value is ready to use.
type Source struct {
	// Map names the objects to enqueue for a key; nil: the key's own.
	Map func(types.NamespacedName) []types.NamespacedName

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early []types.NamespacedName
}

// Start hands the controller's queue over; it implements source.Source.
func (s *Source) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.mu.Lock()
	early := s.early
	s.queue, s.early = queue, nil
	s.mu.Unlock()
	for _, key := range early {
		s.enqueue(queue, key)
	}
	return nil
}

// Wake enqueues the object; before Start it is kept until then.
func (s *Source) Wake(key types.NamespacedName) {
	s.mu.Lock()
	queue := s.queue
	if queue == nil {
		s.early = append(s.early, key)
	}
	s.mu.Unlock()
	if queue != nil {
		s.enqueue(queue, key)
	}
}

func (s *Source) enqueue(queue workqueue.TypedRateLimitingInterface[reconcile.Request], key types.NamespacedName) {
	keys := []types.NamespacedName{key}
	if s.Map != nil {
		keys = s.Map(key)
	}
	for _, k := range keys {
		queue.Add(reconcile.Request{NamespacedName: k})
	}
}
