// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Trigger is a controller's source. Unlike a channel it never blocks, and requests are coalesced in the queue. The
// zero value is ready to use.
type Trigger struct {
	// Map returns the objects to enqueue for a key. If nil, it is the key's own.
	Map func(types.NamespacedName) []types.NamespacedName

	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
	// early are the keys from before Start.
	early []types.NamespacedName
}

// Start implements source.Source.
func (t *Trigger) Start(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	t.mu.Lock()
	early := t.early
	t.queue, t.early = queue, nil
	t.mu.Unlock()
	for _, key := range early {
		t.Wake(key)
	}
	return nil
}

// Wake enqueues the objects of the key, or keeps it until Start.
func (t *Trigger) Wake(key types.NamespacedName) { t.WakeAfter(key, 0) }

// WakeAfter enqueues the objects of the key after a time, or at Start if that was not called yet.
func (t *Trigger) WakeAfter(key types.NamespacedName, after time.Duration) {
	t.mu.Lock()
	queue := t.queue
	if queue == nil {
		t.early = append(t.early, key)
	}
	t.mu.Unlock()
	switch {
	case queue == nil:
	case t.Map == nil:
		queue.AddAfter(reconcile.Request{NamespacedName: key}, after)
	default:
		for _, k := range t.Map(key) {
			queue.AddAfter(reconcile.Request{NamespacedName: k}, after)
		}
	}
}
