// SPDX-License-Identifier: Apache-2.0

// Package pagedlist has a cache's first list read page by page.
//
// client-go reads it as a stream of single events where the API server can, and as
// one answer with everything in it where it cannot. Of 100,000 objects the first
// takes four times as long, for both sides, as each event is decoded twice; the
// second takes the memory for all of them at once, whole. A page is decoded at
// once, while the API server is at work on the next one, and what is dropped of its
// objects is dropped before the one after that is asked for.
package pagedlist

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// pageSize is how many objects a page has, as with client-go's pager.
const pageSize = 500

// NewInformer returns a constructor of informers that list page by page and apply
// the transform to every page as it comes. It fits a cache's options. The transform
// is given what it has returned once more where the cache applies it too. Kinds that
// are many are read by a Reader each; for all others the cache's own client does.
func NewInformer(transform cache.TransformFunc, many ...Reader) func(
	cache.ListerWatcher, runtime.Object, time.Duration, cache.Indexers) cache.SharedIndexInformer {
	return func(lw cache.ListerWatcher, of runtime.Object, resync time.Duration,
		indexers cache.Indexers) cache.SharedIndexInformer {
		l := &listerWatcher{ListerWatcherWithContext: cache.ToListerWatcherWithContext(lw), transform: transform}
		l.read = l.decoded
		for _, r := range many {
			if r.reads(of) {
				l.read = r.read
			}
		}
		return cache.NewSharedIndexInformer(l, of, resync, indexers)
	}
}

// listerWatcher lists page by page.
type listerWatcher struct {
	cache.ListerWatcherWithContext
	transform cache.TransformFunc
	read      func(context.Context, metav1.ListOptions) (page, error)
}

// page is a page of a list.
type page struct {
	metav1.ListMeta
	// list decodes it.
	list func() (runtime.Object, error)
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
	o.Limit, o.Continue, o.ResourceVersion, o.ResourceVersionMatch = pageSize, "", "", ""
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a page that nobody waits for any more
	all := &metainternalversion.List{}
	for next := l.ask(ctx, o); next != nil; {
		p, err := next()
		if apierrors.IsResourceExpired(err) && o.Limit > 0 && o.Continue != "" {
			o.Limit, o.Continue = 0, ""
			all.Items = nil
			next = l.ask(ctx, o)
			continue
		}
		if err != nil {
			return nil, err
		}
		next = nil
		if p.Continue != "" {
			o.Continue = p.Continue
			next = l.ask(ctx, o)
		}
		// All pages are of one version.
		all.ResourceVersion = p.ResourceVersion
		if all.Items, err = l.append(all.Items, p); err != nil {
			return nil, fmt.Errorf("read a page of a list: %w", err)
		}
	}
	return all, nil
}

// ask begins to read a page, and returns how to wait for it.
func (l *listerWatcher) ask(ctx context.Context, o metav1.ListOptions) func() (page, error) {
	var p page
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		p, err = l.read(ctx, o)
	}()
	return func() (page, error) {
		<-done
		return p, err
	}
}

// decoded reads a page with the cache's own client.
func (l *listerWatcher) decoded(ctx context.Context, o metav1.ListOptions) (page, error) {
	in, err := l.ListerWatcherWithContext.ListWithContext(ctx, o)
	if err != nil {
		return page{}, err
	}
	listMeta, err := meta.ListAccessor(in)
	if err != nil {
		return page{}, fmt.Errorf("read a page of a list: %w", err)
	}
	return page{
		ListMeta: metav1.ListMeta{ResourceVersion: listMeta.GetResourceVersion(), Continue: listMeta.GetContinue()},
		list:     func() (runtime.Object, error) { return in, nil },
	}, nil
}

// append appends what the transform makes of each object of a page, so that nothing
// holds on to the array which all of them were decoded into.
func (l *listerWatcher) append(to []runtime.Object, p page) ([]runtime.Object, error) {
	in, err := p.list()
	if err != nil {
		return nil, err
	}
	err = meta.EachListItemWithAlloc(in, func(o runtime.Object) error {
		transformed, err := l.transform(o)
		if err != nil {
			return err
		}
		object, ok := transformed.(runtime.Object)
		if !ok {
			return fmt.Errorf("the transform has returned a %T", transformed)
		}
		to = append(to, object)
		return nil
	})
	return to, err
}

// Watch implements cache.Watcher.
func (l *listerWatcher) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}
