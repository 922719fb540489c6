// SPDX-License-Identifier: Apache-2.0

package follow

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// pageSize is how many objects Read requests at once.
	pageSize = 500
	// minBackoff and maxBackoff limit the time between attempts, which doubles with each failure.
	minBackoff, maxBackoff = time.Second, 30 * time.Second
)

// Source selects the objects to follow.
type Source struct {
	Client client.WithWatch
	// NewList returns an empty list of whole objects, or of their metadata.
	NewList func() client.ObjectList
	// Options select the objects.
	Options []client.ListOption
}

// Sink is called by one goroutine.
type Sink interface {
	// Begin reads the existing objects, if they matter, and returns the version from which changes are reported. It is
	// called again when changes may have been missed.
	Begin(ctx context.Context) (version string, err error)
	// Change reports that an object was added, modified or deleted.
	Change(event watch.EventType, o client.Object)
	// Lost reports why changes are not reported for now. It is called for the first of several failures.
	Lost(err error)
}

// Run follows the objects until ctx is done.
func (s Source) Run(ctx context.Context, to Sink) {
	for backoff := minBackoff; ctx.Err() == nil; {
		err := s.run(ctx, to)
		switch {
		case err == nil || ctx.Err() != nil:
			backoff = minBackoff
			continue
		case backoff == minBackoff:
			to.Lost(err)
		}
		sleep(ctx, backoff)
		backoff = min(2*backoff, maxBackoff)
	}
}

// run follows the objects as long as the API server has the version to continue with. It returns nil if not.
func (s Source) run(ctx context.Context, to Sink) error {
	version, err := to.Begin(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		version, err = s.watch(ctx, to, version)
		switch {
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			return nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return err
		}
		sleep(ctx, minBackoff) // the next watch reports what changes meanwhile
	}
	return nil
}

// watch reports changes after a version until the watch ends. It returns the last version.
func (s Source) watch(ctx context.Context, to Sink, version string) (string, error) {
	w, err := s.Client.Watch(ctx, s.NewList(), s.options(
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}})...)
	if err != nil {
		return version, fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return version, apierrors.FromObject(event.Object)
		}
		o, ok := event.Object.(client.Object)
		if !ok {
			return version, fmt.Errorf("watch: the API server sends a %T", event.Object)
		}
		version = o.GetResourceVersion()
		if event.Type != watch.Bookmark {
			to.Change(event.Type, o)
		}
	}
	return version, nil
}

// Read reads all objects, page by page, and returns their version.
func (s Source) Read(ctx context.Context, each func(client.Object)) (version string, err error) {
	for list := s.NewList(); ; {
		options := s.options(client.Limit(pageSize), client.Continue(list.GetContinue()))
		if err := s.Client.List(ctx, list, options...); err != nil {
			return "", fmt.Errorf("list: %w", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			each(o.(client.Object))
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("list: %w", err)
		}
		if list.GetContinue() == "" {
			return list.GetResourceVersion(), nil
		}
	}
}

// Version returns the current version, and reads no objects.
func (s Source) Version(ctx context.Context) (string, error) {
	list := s.NewList()
	// No object has the name. The API server looks an object up by its name, and does not search for it.
	named := client.MatchingFields{"metadata.name": "teamtalk-absent"}
	if err := s.Client.List(ctx, list, s.options(named)...); err != nil {
		return "", fmt.Errorf("list: %w", err)
	}
	return list.GetResourceVersion(), nil
}

func (s Source) options(more ...client.ListOption) []client.ListOption {
	return slices.Concat(s.Options, more)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
