// SPDX-License-Identifier: Apache-2.0

// Package objectwatch watches single objects by name. A Secret or ConfigMap that
// some resource refers to can be followed without the right to list, or the
// memory to hold, all of its kind: RBAC with resourceNames suffices.
package objectwatch

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Watcher tells owners when the object that they watch appears, changes or goes.
// It hands out no object: who is told reads it.
type Watcher struct {
	client   rest.Interface
	resource string
	example  runtime.Object
	notify   func(owner types.NamespacedName)

	ctx        context.Context
	cancel     context.CancelFunc
	goroutines sync.WaitGroup

	mu      sync.Mutex
	targets map[types.NamespacedName]types.NamespacedName // by owner
	watches map[types.NamespacedName]*watch               // by target
}

type watch struct {
	cancel context.CancelFunc
	owners map[types.NamespacedName]struct{}
}

// New returns a Watcher of a resource, such as "secrets", of the client's API
// group. notify is called for each owner of an object after every change of it,
// and once when its watch begins; it must not call back into the Watcher.
func New(client rest.Interface, resource string, example runtime.Object,
	notify func(owner types.NamespacedName)) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &Watcher{
		client: client, resource: resource, example: example, notify: notify, ctx: ctx, cancel: cancel,
		targets: map[types.NamespacedName]types.NamespacedName{},
		watches: map[types.NamespacedName]*watch{},
	}
}

// Start keeps the watches going until ctx is done and returns once they have
// ended. It is a manager's Runnable.
func (w *Watcher) Start(ctx context.Context) error {
	<-ctx.Done()
	w.mu.Lock()
	w.cancel()
	w.mu.Unlock()
	w.goroutines.Wait()
	return nil
}

// Watch makes target the one object that owner watches.
func (w *Watcher) Watch(owner, target types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if before, ok := w.targets[owner]; ok {
		if before == target {
			return
		}
		w.release(owner, before)
	}
	if w.ctx.Err() != nil {
		return
	}
	w.targets[owner] = target
	if running, ok := w.watches[target]; ok {
		running.owners[owner] = struct{}{}
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.watches[target] = &watch{cancel: cancel, owners: map[types.NamespacedName]struct{}{owner: {}}}
	w.goroutines.Go(func() { w.run(ctx, target) })
}

// Release ends what owner watches, if anything.
func (w *Watcher) Release(owner types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if target, ok := w.targets[owner]; ok {
		w.release(owner, target)
	}
}

// release needs the lock.
func (w *Watcher) release(owner, target types.NamespacedName) {
	delete(w.targets, owner)
	running := w.watches[target]
	delete(running.owners, owner)
	if len(running.owners) == 0 {
		running.cancel()
		delete(w.watches, target)
	}
}

func (w *Watcher) run(ctx context.Context, target types.NamespacedName) {
	tell := func(any) { w.tell(target) }
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(w.client, w.resource, target.Namespace,
			fields.OneTermEqualSelector("metadata.name", target.Name)),
		ObjectType: w.example,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    tell,
			UpdateFunc: func(_, obj any) { tell(obj) },
			DeleteFunc: tell,
		},
		Transform: w.strip,
	})
	informer.RunWithContext(ctx)
}

// strip keeps an object's identity alone: that it changed is all that is told,
// and nothing secret stays in memory.
func (w *Watcher) strip(obj any) (any, error) {
	full, err := meta.Accessor(obj)
	if err != nil {
		// A tombstone: it holds what was stripped before.
		return obj, nil //nolint:nilerr // not an error of the object
	}
	bare := w.example.DeepCopyObject()
	m, err := meta.Accessor(bare)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", w.resource, err)
	}
	m.SetNamespace(full.GetNamespace())
	m.SetName(full.GetName())
	m.SetUID(full.GetUID())
	m.SetResourceVersion(full.GetResourceVersion())
	return bare, nil
}

func (w *Watcher) tell(target types.NamespacedName) {
	w.mu.Lock()
	var owners []types.NamespacedName
	if running, ok := w.watches[target]; ok {
		for owner := range running.owners {
			owners = append(owners, owner)
		}
	}
	w.mu.Unlock()
	for _, owner := range owners {
		w.notify(owner)
	}
}
