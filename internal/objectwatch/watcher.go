// SPDX-License-Identifier: Apache-2.0

package objectwatch

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Watcher notifies owners when the object that they watch appears, changes or is deleted. The owner reads the object.
type Watcher struct {
	client   rest.Interface
	resource string
	example  client.Object
	notify   func(owner types.NamespacedName)

	ctx        context.Context
	cancel     context.CancelFunc
	goroutines sync.WaitGroup

	mu      sync.Mutex
	targets map[types.NamespacedName]types.NamespacedName // by owner
	watches map[types.NamespacedName]watch                // by target
}

type watch struct {
	cancel context.CancelFunc
	owners sets.Set[types.NamespacedName]
}

// New returns a Watcher of a resource, such as "secrets", of the client's API group. example is an object of its type.
// notify is called for each owner after every change, and once when the watch of an existing object begins. It must
// not call the Watcher.
func New(
	client rest.Interface, resource string, example client.Object, notify func(owner types.NamespacedName),
) *Watcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &Watcher{
		client: client, resource: resource, example: example, notify: notify, ctx: ctx, cancel: cancel,
		targets: map[types.NamespacedName]types.NamespacedName{},
		watches: map[types.NamespacedName]watch{},
	}
}

// Start keeps the watches until ctx is done, and returns when they have ended. It is a manager's Runnable.
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
	if before, ok := w.targets[owner]; ok && before == target {
		return
	}
	w.release(owner)
	if w.ctx.Err() != nil {
		return
	}
	w.targets[owner] = target
	if running, ok := w.watches[target]; ok {
		running.owners.Insert(owner)
		return
	}
	ctx, cancel := context.WithCancel(w.ctx)
	w.watches[target] = watch{cancel, sets.New(owner)}
	w.goroutines.Go(func() { w.run(ctx, target) })
}

// Release ends the watch of owner, if there is one.
func (w *Watcher) Release(owner types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(owner)
}

// release needs mu.
func (w *Watcher) release(owner types.NamespacedName) {
	target, ok := w.targets[owner]
	if !ok {
		return
	}
	delete(w.targets, owner)
	running := w.watches[target]
	running.owners.Delete(owner)
	if running.owners.Len() == 0 {
		running.cancel()
		delete(w.watches, target)
	}
}

func (w *Watcher) run(ctx context.Context, target types.NamespacedName) {
	changed := func(any) { w.notifyOwners(target) }
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: cache.NewListWatchFromClient(w.client, w.resource, target.Namespace,
			fields.OneTermEqualSelector("metadata.name", target.Name)),
		ObjectType: w.example,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
		},
		Transform: w.strip,
	})
	informer.RunWithContext(ctx)
}

// strip keeps only the identity of an object: its content may be secret.
func (w *Watcher) strip(in any) (any, error) {
	full, ok := in.(client.Object)
	if !ok {
		return in, nil // a tombstone, whose object was stripped before
	}
	bare := w.example.DeepCopyObject().(client.Object)
	bare.SetNamespace(full.GetNamespace())
	bare.SetName(full.GetName())
	bare.SetUID(full.GetUID())
	bare.SetResourceVersion(full.GetResourceVersion())
	return bare, nil
}

func (w *Watcher) notifyOwners(target types.NamespacedName) {
	w.mu.Lock()
	owners := w.watches[target].owners.UnsortedList()
	w.mu.Unlock()
	for _, owner := range owners {
		w.notify(owner)
	}
}
