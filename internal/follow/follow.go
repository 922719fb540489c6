// SPDX-License-Identifier: Apache-2.0

// Package follow tells of the changes of many objects, and holds none of them: an
// informer would keep every one in memory for whoever looks at few, or at little of
// each.
package follow

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// page is how many objects are read at once.
	page = 500
	// pause is how long it waits before it asks again; longer and longer, up to
	// maxPause, where it cannot begin.
	pause, maxPause = time.Second, 30 * time.Second
	// nobody is a name that no object has.
	nobody = "teamtalk-nobody"
)

// Source is what is followed.
type Source struct {
	Client client.WithWatch
	// NewList makes an empty list of the kind: of its metadata, or of whole objects.
	NewList func() client.ObjectList
	// Options choose the objects.
	Options []client.ListOption
}

// Sink is told of what is followed, by one goroutine.
type Sink interface {
	// Begin reads what there is, as far as that matters, and returns the version from
	// which changes are told. It is called again where some may have been missed.
	Begin(ctx context.Context) (version string, err error)
	// Change tells that an object was added, modified or deleted.
	Change(kind watch.EventType, o client.Object)
	// Lost tells that changes are not told for now, and why. Not of each try.
	Lost(err error)
}

// Run follows until ctx is done.
func (s Source) Run(ctx context.Context, to Sink) {
	for wait := pause; ctx.Err() == nil; {
		err := s.run(ctx, to)
		switch {
		case err == nil || ctx.Err() != nil:
			wait = pause
			continue
		case wait == pause:
			to.Lost(err)
		}
		sleep(ctx, wait)
		wait = min(2*wait, maxPause)
	}
}

// run follows for as long as the API server goes on from where it was. nil: it has to
// be begun again.
func (s Source) run(ctx context.Context, to Sink) error {
	version, err := to.Begin(ctx)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		version, err = s.changes(ctx, to, version)
		switch {
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			return nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return err
		}
		// What changes meanwhile is told then.
		sleep(ctx, pause)
	}
	return nil
}

// changes tells what changes after a version, until the watch ends, and returns how far
// it has come.
func (s Source) changes(ctx context.Context, to Sink, version string) (string, error) {
	options := append([]client.ListOption{}, s.Options...)
	options = append(options,
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}})
	w, err := s.Client.Watch(ctx, s.NewList(), options...)
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

// Read reads all objects, page by page, and returns the version that they were of.
func (s Source) Read(ctx context.Context, each func(client.Object)) (version string, err error) {
	for list := s.NewList(); ; {
		options := append([]client.ListOption{}, s.Options...)
		options = append(options, client.Limit(page), client.Continue(list.GetContinue()))
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

// Version returns the version of all objects as of now, and reads none of them.
func (s Source) Version(ctx context.Context) (string, error) {
	list := s.NewList()
	options := append([]client.ListOption{}, s.Options...)
	// One object by name is looked up, and not looked for.
	options = append(options, client.MatchingFields{"metadata.name": nobody})
	if err := s.Client.List(ctx, list, options...); err != nil {
		return "", fmt.Errorf("list: %w", err)
	}
	return list.GetResourceVersion(), nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
