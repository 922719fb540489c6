// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// AwaitVersion waits until a version of an object is as wanted, o or a later one, and returns it. It sees each version
// in order, and so it misses no state that ends soon.
func AwaitVersion[T client.Object](x *Tenant, o T, want string, is func(T) bool) T {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), x.Timeout)
	defer cancel()
	if is(o) {
		return o
	}
	event, err := toolswatch.Until(ctx, o.GetResourceVersion(), x.watcher(o), func(event watch.Event) (bool, error) {
		seen, ok := event.Object.(T)
		return ok && is(seen), nil
	})
	if err != nil {
		x.Fatalf("after %s: no version of %s is %s: %v", x.Timeout, o.GetName(), want, err)
	}
	return event.Object.(T)
}

// watcher watches one object.
func (x *Tenant) watcher(o client.Object) *cache.ListWatch {
	x.Helper()
	kind, err := x.Cluster.Admin.GroupVersionKindFor(o)
	x.Must(err)
	list, err := x.Cluster.Admin.Scheme().New(kind.GroupVersion().WithKind(kind.Kind + "List"))
	x.Must(err)
	watchObject := func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		return x.Cluster.Admin.Watch(ctx, list.(client.ObjectList), client.InNamespace(o.GetNamespace()),
			client.MatchingFields{"metadata.name": o.GetName()}, &client.ListOptions{Raw: &options})
	}
	return &cache.ListWatch{WatchFuncWithContext: watchObject}
}
