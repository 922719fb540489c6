// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	toolswatch "k8s.io/client-go/tools/watch"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// pageSize is the number of objects that Read requests at once. An object may have 1.5 MB, and a page is in memory
	// twice. Reading 20,000 messages takes 3.2 s (2.0 s in pages of 500), and their metadata 1.6 s (1.0 s in pages of
	// 1,000).
	pageSize = 50
	// resumeLimit is the number of attempts to resume a watch, once a second, before Begin is called again.
	resumeLimit = 10
	// minBackoff and maxBackoff limit the time between attempts, which doubles with each failure.
	minBackoff, maxBackoff = time.Second, 30 * time.Second
)

// Collection selects API objects to read and to watch. It keeps none of them in memory, as an informer would.
type Collection struct {
	Client client.WithWatch
	// NewList returns an empty list of whole objects, or of their metadata.
	NewList func() client.ObjectList
	// Options select the objects.
	Options []client.ListOption
}

// CollectionHandler is called by one goroutine.
type CollectionHandler interface {
	// Begin returns the version from which changes are reported, from Version, or from Read if the existing objects
	// matter. It is called again when changes may have been missed.
	Begin(ctx context.Context) (version string, err error)
	// Change reports that an object was added, modified or deleted. An object that leaves the selection is reported as
	// deleted, and one that enters it as added.
	Change(event watch.EventType, o client.Object)
	// Lost reports why changes are not reported for now. It is called for the first of several failures.
	Lost(err error)
}

// Run watches the objects until ctx is done.
func (c Collection) Run(ctx context.Context, h CollectionHandler) {
	for backoff := minBackoff; ctx.Err() == nil; {
		opened, err := c.watch(ctx, h)
		if opened {
			backoff = minBackoff
		}
		expired := apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
		if backoff == minBackoff && !expired && ctx.Err() == nil {
			h.Lost(err)
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		if !expired {
			backoff = min(2*backoff, maxBackoff)
		}
	}
}

// watch reports changes until ctx is done, or the API server refuses to continue. It returns whether a watch was
// opened, and why it ended.
func (c Collection) watch(ctx context.Context, h CollectionHandler) (opened bool, err error) {
	version, err := h.Begin(ctx)
	if err != nil {
		return false, err
	}
	ctx, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	failures := 0
	open := func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		w, err := c.Client.Watch(ctx, c.NewList(), c.with(&client.ListOptions{Raw: &options})...)
		if err == nil {
			opened, failures = true, 0
			return w, nil
		}
		// A RetryWatcher would repeat it each second for ever.
		if failures++; isRefusal(err) || failures == resumeLimit {
			refuse(fmt.Errorf("watch: %w", err))
		}
		return nil, err
	}
	// A RetryWatcher logs an error each second while the API server does not answer.
	w, err := toolswatch.NewRetryWatcherWithContext(klog.NewContext(ctx, logr.Discard()), version,
		&cache.ListWatch{WatchFuncWithContext: open})
	if err != nil {
		return false, fmt.Errorf("watch: %w", err)
	}
	refuse(report(w, h)) // keeps the first cause
	<-w.Done()           // before opened is read
	return opened, context.Cause(ctx)
}

// report reports changes until w ends. The error is that of the API server, if it sends one.
func report(w watch.Interface, h CollectionHandler) error {
	for event := range w.ResultChan() {
		o, ok := event.Object.(client.Object)
		switch {
		case event.Type == watch.Error:
			return fmt.Errorf("watch: %w", apierrors.FromObject(event.Object))
		case !ok:
			return fmt.Errorf("watch: the API server sends a %T", event.Object)
		}
		h.Change(event.Type, o)
	}
	return nil
}

// isRefusal reports whether the API server would refuse the same request again.
func isRefusal(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= 400 && code < 500 && code != http.StatusTooManyRequests
}

// Read calls each for all objects, page by page, and returns the version of the first page. If reading takes longer
// than the API server keeps a version, later pages are newer.
func (c Collection) Read(ctx context.Context, each func(client.Object)) (version string, err error) {
	for next := ""; ; {
		list := c.NewList() // empty, because decoding keeps fields that the next page does not contain
		err := c.Client.List(ctx, list, c.with(client.Limit(pageSize), client.Continue(next))...)
		if status := apierrors.APIStatus(nil); apierrors.IsResourceExpired(err) && errors.As(err, &status) {
			if newer := status.Status().Continue; newer != "" {
				next = newer
				continue
			}
		}
		if err != nil {
			return "", fmt.Errorf("list: %w", err)
		}
		version = cmp.Or(version, list.GetResourceVersion())
		err = meta.EachListItem(list, func(o runtime.Object) error {
			each(o.(client.Object))
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("list: %w", err)
		}
		if next = list.GetContinue(); next == "" {
			return version, nil
		}
	}
}

// Version returns the current version, and reads no objects.
func (c Collection) Version(ctx context.Context) (string, error) {
	list := c.NewList()
	// No object has the name. In one namespace the API server looks an object up by its name, and does not search.
	named := client.MatchingFields{"metadata.name": "teamtalk-absent"} // replaces a field selector of the options
	if err := c.Client.List(ctx, list, c.with(named)...); err != nil {
		return "", fmt.Errorf("list: %w", err)
	}
	return list.GetResourceVersion(), nil
}

func (c Collection) with(options ...client.ListOption) []client.ListOption {
	return slices.Concat(c.Options, options)
}
