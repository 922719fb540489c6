// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// objectsIdle is how long the watch of a namespace outlasts its last object, so that the next one finds it.
	objectsIdle = time.Minute
	// maxIdleObjects limits the namespaces that are watched without an object.
	maxIdleObjects = 100
	// triesPerSecond limits the attempts to watch objects by name. Namespaces take turns.
	triesPerSecond = 20
)

// Objects notifies owners when the Secret or ConfigMap that they watch may have changed. The owner reads the object
// after it has called Watch. Objects receives metadata only, and keeps none of it.
//
// There is one watch per namespace. If it is forbidden, each object that may be watched by name has a separate watch.
// While others remain, one goroutine retries the namespace and these objects.
type Objects struct {
	notify     func(owner types.NamespacedName)
	tries      *rate.Limiter
	namespaces *Namespaces[*objectNamespace]

	mu      sync.Mutex
	targets map[types.NamespacedName]objectTarget // by owner
}

// objectTarget is the object that an owner watches.
type objectTarget struct {
	types.NamespacedName
	namespace *objectNamespace
	release   func() // of the namespace
}

// objectNamespace watches the objects of a namespace. It is a CollectionHandler.
type objectNamespace struct {
	*Objects
	source  Collection
	log     logr.Logger
	added   chan struct{} // has an element when there may be another object without a watch by name
	watches sync.WaitGroup

	objects map[string]*watchedObject // by name, guarded by Objects.mu
}

// watchedObject is guarded by Objects.mu.
type watchedObject struct {
	owners sets.Set[types.NamespacedName]
	byName watch.Interface // nil if it has no watch by name
	tried  time.Time       // when a watch by name was last refused
}

// NewObjects returns the Objects of a kind of the core API group, such as "Secret". notify is called for each owner
// after every change, and whenever changes may have been missed. It must not call Objects.
func NewObjects(c client.WithWatch, kind string, log logr.Logger, notify func(owner types.NamespacedName)) *Objects {
	w := &Objects{
		notify: notify, tries: rate.NewLimiter(triesPerSecond, 1), targets: map[types.NamespacedName]objectTarget{},
	}
	newList := func() client.ObjectList {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
		return list
	}
	w.namespaces = NewNamespaces(func(namespace string) (*objectNamespace, func(context.Context)) {
		n := &objectNamespace{
			Objects: w, objects: map[string]*watchedObject{}, added: make(chan struct{}, 1),
			log:    log.WithValues("kind", kind, "namespace", namespace),
			source: Collection{Client: c, NewList: newList, Options: []client.ListOption{client.InNamespace(namespace)}},
		}
		return n, func(ctx context.Context) {
			n.source.Run(ctx, n)
			n.watches.Wait()
		}
	}, objectsIdle, maxIdleObjects)
	return w
}

// Start keeps the watches until ctx is done, and returns when they have ended. It is a manager's Runnable.
func (w *Objects) Start(ctx context.Context) error {
	w.namespaces.Run(ctx)
	return nil
}

// Watch makes target the one object that owner watches.
func (w *Objects) Watch(owner, target types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if before, ok := w.targets[owner]; ok && before.NamespacedName == target {
		return
	}
	w.release(owner)
	n, release, err := w.namespaces.Acquire(target.Namespace)
	if err != nil {
		return // shutting down
	}
	w.targets[owner] = objectTarget{target, n, release}
	if o := n.objects[target.Name]; o != nil {
		o.owners.Insert(owner)
		return
	}
	n.objects[target.Name] = &watchedObject{owners: sets.New(owner)}
	n.signal()
}

// Release ends the watch of owner, if there is one.
func (w *Objects) Release(owner types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(owner)
}

// release needs mu.
func (w *Objects) release(owner types.NamespacedName) {
	target, ok := w.targets[owner]
	if !ok {
		return
	}
	delete(w.targets, owner)
	target.release()
	o := target.namespace.objects[target.Name]
	if o.owners.Delete(owner); o.owners.Len() > 0 {
		return
	}
	delete(target.namespace.objects, target.Name)
	if o.byName != nil {
		o.byName.Stop()
	}
}

// Begin implements CollectionHandler. It returns once there is an object without a watch by name.
func (n *objectNamespace) Begin(ctx context.Context) (version string, err error) {
	for len(n.withoutWatch()) == 0 {
		select {
		case <-n.added:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	version, err = n.source.Version(ctx)
	if apierrors.IsForbidden(err) {
		version, err = n.watchByName(ctx)
	}
	if err == nil {
		n.notifyOwners(n.withoutWatch()...)
	}
	return version, err
}

// Change implements CollectionHandler.
func (n *objectNamespace) Change(_ watch.EventType, o client.Object) { n.notifyOwners(o.GetName()) }

// Lost implements CollectionHandler.
func (n *objectNamespace) Lost(err error) {
	if names := n.withoutWatch(); len(names) > 0 {
		n.log.Info("the watch was lost; retrying", "objects", len(names), "reason", err.Error())
	}
}

// withoutWatch returns the objects without a watch by name. The least recently tried one is the first.
func (n *objectNamespace) withoutWatch() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var names []string
	for name, o := range n.objects {
		if o.byName == nil {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return n.objects[a].tried.Compare(n.objects[b].tried) })
	return names
}

// watchByName tries to watch objects by name for a while, until the namespace should be tried again. It returns the
// version of the namespace once it may be watched, or that it may not.
func (n *objectNamespace) watchByName(ctx context.Context) (version string, err error) {
	limited, cancel := context.WithTimeout(ctx, maxBackoff)
	defer cancel()
	for _, name := range n.withoutWatch() {
		if n.tries.Wait(limited) != nil {
			break
		}
		w, err := n.openByName(ctx, name)
		if err == nil {
			// What permits this object may permit all.
			if version, err := n.source.Version(ctx); err == nil {
				w.Stop()
				return version, nil
			}
		}
		n.mu.Lock()
		o := n.objects[name]
		switch {
		case o != nil && err != nil:
			o.tried = time.Now()
		case o != nil:
			o.byName = w
			n.watches.Go(func() { n.follow(name, o, w) })
		case err == nil:
			w.Stop() // the object was released
		}
		n.mu.Unlock()
	}
	return n.source.Version(ctx)
}

// openByName opens a watch of one object.
func (n *objectNamespace) openByName(ctx context.Context, name string) (watch.Interface, error) {
	one := n.source
	one.Options = one.with(client.MatchingFields{"metadata.name": name})
	version, err := one.Read(ctx, func(client.Object) {})
	if err != nil {
		return nil, err
	}
	from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}}
	return one.Client.Watch(ctx, one.NewList(), one.with(from)...)
}

// follow reports changes of one object until its watch ends. API servers end each watch after a while.
func (n *objectNamespace) follow(name string, o *watchedObject, w watch.Interface) {
	n.notifyOwners(name) // of changes before the watch
	_ = report(w, n)     // it is retried after any error
	w.Stop()
	n.mu.Lock()
	o.byName = nil
	n.mu.Unlock()
	n.signal()
}

func (n *objectNamespace) signal() {
	select {
	case n.added <- struct{}{}:
	default: // one is pending
	}
}

func (n *objectNamespace) notifyOwners(names ...string) {
	var owners []types.NamespacedName
	n.mu.Lock()
	for _, name := range names {
		if o := n.objects[name]; o != nil {
			owners = append(owners, o.owners.UnsortedList()...)
		}
	}
	n.mu.Unlock()
	for _, owner := range owners {
		n.notify(owner)
	}
}
