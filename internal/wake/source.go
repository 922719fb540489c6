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
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	early []types.NamespacedName
}

// Start hands the controller's queue over; it implements source.Source.
func (s *Source) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = queue
	for _, key := range s.early {
		queue.Add(reconcile.Request{NamespacedName: key})
	}
	s.early = nil
	return nil
}

// Wake enqueues the object; before Start it is kept until then.
func (s *Source) Wake(key types.NamespacedName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		s.early = append(s.early, key)
		return
	}
	s.queue.Add(reconcile.Request{NamespacedName: key})
}
