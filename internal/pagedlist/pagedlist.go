// Package pagedlist has a cache's first list read page by page.
//
// client-go reads it as a stream of single events where the API server can, and as
// one answer with everything in it where it cannot. Of 100,000 objects the first
// takes four times as long, for both sides, as each event is decoded twice; the
// second takes the memory for all of them at once, whole. A page is decoded at
// once, and what is dropped of its objects is dropped before the next is read.
package pagedlist

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
)

// NewInformer returns a constructor of informers that list page by page and apply
// the transform to every page as it comes. It fits a cache's options. The transform
// is given what it has returned once more where the cache applies it too.
func NewInformer(transform cache.TransformFunc) func(cache.ListerWatcher, runtime.Object, time.Duration, cache.Indexers) cache.SharedIndexInformer {
	return func(lw cache.ListerWatcher, of runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
		return cache.NewSharedIndexInformer(&listerWatcher{cache.ToListerWatcherWithContext(lw), transform}, of, resync, indexers)
	}
}

// listerWatcher lists page by page.
type listerWatcher struct {
	cache.ListerWatcherWithContext
	transform cache.TransformFunc
}

var (
	_ cache.ListerWatcher            = (*listerWatcher)(nil)
	_ cache.ListerWatcherWithContext = (*listerWatcher)(nil)
)

// IsWatchListSemanticsUnSupported tells client-go to list rather than to stream.
func (*listerWatcher) IsWatchListSemanticsUnSupported() bool { return true }

// List implements cache.Lister.
func (l *listerWatcher) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

// ListWithContext implements cache.ListerWithContext with all pages, of the newest
// version whatever is asked for: an older one cannot be had in pages. Where the
// API server has dropped that version before the last page, it reads one that is
// whole instead.
func (l *listerWatcher) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	o.Limit, o.Continue, o.ResourceVersion, o.ResourceVersionMatch = 0, "", "", ""
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		in, err := l.ListerWatcherWithContext.ListWithContext(ctx, o)
		if err != nil {
			return nil, err
		}
		return l.page(in)
	})
	all, _, err := pages.List(ctx, o)
	return all, err
}

// page returns a list of what the transform makes of each object, so that nothing
// holds on to the array which all of them were decoded into.
func (l *listerWatcher) page(in runtime.Object) (runtime.Object, error) {
	listMeta, err := meta.ListAccessor(in)
	if err != nil {
		return nil, fmt.Errorf("read a page of a list: %w", err)
	}
	out := &metainternalversion.List{}
	out.ResourceVersion, out.Continue = listMeta.GetResourceVersion(), listMeta.GetContinue()
	err = meta.EachListItemWithAlloc(in, func(o runtime.Object) error {
		transformed, err := l.transform(o)
		if err != nil {
			return err
		}
		object, ok := transformed.(runtime.Object)
		if !ok {
			return fmt.Errorf("the transform has returned a %T", transformed)
		}
		out.Items = append(out.Items, object)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read a page of a list: %w", err)
	}
	return out, nil
}

// Watch implements cache.Watcher.
func (l *listerWatcher) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}
