// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Trigger is a controller's source. Unlike a channel it never blocks, and requests are coalesced in the queue. The
// zero value is ready to use.
type Trigger struct {
	// Map returns the objects to enqueue for a key. If nil, it is the key's own.
	Map func(types.NamespacedName) []types.NamespacedName

	mu    sync.Mutex
	queue priorityqueue.PriorityQueue[reconcile.Request]
	// early are the calls from before Start.
	early []func()
}

// Start implements source.Source. The controller must use a priority queue, as it does by default.
func (t *Trigger) Start(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	queue, ok := q.(priorityqueue.PriorityQueue[reconcile.Request])
	if !ok {
		return fmt.Errorf("start a trigger: the queue is a %T, which has no priorities", q)
	}
	t.mu.Lock()
	early := t.early
	t.queue, t.early = queue, nil
	t.mu.Unlock()
	for _, wake := range early {
		wake()
	}
	return nil
}

// Wake enqueues the objects of the key, or keeps it until Start.
func (t *Trigger) Wake(key types.NamespacedName) { t.WakeWith(priorityqueue.AddOpts{}, key) }

// WakeWith is Wake with a time after which the objects are enqueued, or with their priority.
func (t *Trigger) WakeWith(opts priorityqueue.AddOpts, key types.NamespacedName) {
	t.mu.Lock()
	queue := t.queue
	if queue == nil {
		t.early = append(t.early, func() { t.WakeWith(opts, key) })
	}
	t.mu.Unlock()
	switch {
	case queue == nil:
	case t.Map == nil:
		queue.AddWithOpts(opts, reconcile.Request{NamespacedName: key})
	default:
		for _, k := range t.Map(key) {
			queue.AddWithOpts(opts, reconcile.Request{NamespacedName: k})
		}
	}
}
