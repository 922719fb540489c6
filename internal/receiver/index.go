package receiver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const (
	// indexPage is how many messages are read at once when a watch begins.
	indexPage = 500
	// indexPause is how long it waits before it watches again; longer and longer, up to
	// maxIndexPause, where it may not.
	indexPause, maxIndexPause = time.Second, time.Minute
)

// index knows the newest message of each notification. The API server has to look
// through all messages of a namespace to find it, so this follows them: by one watch
// for each namespace that is received in, of the metadata of messages that receivers
// have made, of which it keeps a number and a time for each notification. It may be
// behind, and must then be no more than a hint.
type index struct {
	client client.WithWatch
	log    logr.Logger

	mu         sync.Mutex
	base       context.Context // nil: not open
	namespaces map[string]*shelf
	goroutines sync.WaitGroup
}

// shelf is one namespace's.
type shelf struct {
	mu sync.Mutex
	// newest are by the notification's hash; nil until all were read once.
	newest map[string]numbered
}

func newIndex(c client.WithWatch, log logr.Logger) *index {
	return &index{client: c, log: log, namespaces: map[string]*shelf{}}
}

// open lets it follow messages until ctx is done; before, it knows of none.
func (x *index) open(ctx context.Context) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.base = ctx
}

// wait returns once nothing is followed any more.
func (x *index) wait() {
	x.mu.Lock()
	x.base = nil
	x.mu.Unlock()
	x.goroutines.Wait()
}

// newest returns the newest message of a notification; number 0: there is none. Not ok:
// it is not known yet. The first question about a namespace has it followed.
func (x *index) newest(namespace, hash string) (last numbered, ok bool) {
	x.mu.Lock()
	s := x.namespaces[namespace]
	if s == nil && x.base != nil {
		s = &shelf{}
		x.namespaces[namespace] = s
		ctx := x.base
		x.goroutines.Go(func() { x.keep(ctx, namespace, s) })
	}
	x.mu.Unlock()
	if s == nil {
		return numbered{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest[hash], s.newest != nil
}

// keep follows a namespace's messages until ctx is done.
func (x *index) keep(ctx context.Context, namespace string, s *shelf) {
	for pause := indexPause; ctx.Err() == nil; {
		err := x.follow(ctx, namespace, s)
		switch {
		case err == nil:
			pause = indexPause
		case pause == indexPause && ctx.Err() == nil: // said once
			x.log.Info("the messages of receivers are not followed, and listed for each notification instead; trying again",
				"namespace", namespace, "reason", err.Error())
		}
		sleep(ctx, pause)
		if err != nil {
			pause = min(2*pause, maxIndexPause)
		}
	}
}

// follow reads all messages, then their changes, for as long as the API server goes on
// from where it was. nil: it has to be begun anew.
func (x *index) follow(ctx context.Context, namespace string, s *shelf) error {
	version, err := x.read(ctx, namespace, s)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		version, err = x.changes(ctx, namespace, s, version)
		switch {
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
			return nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			s.forget()
			return err
		}
		// What is known goes on to be a hint, and what changes meanwhile is read then.
		sleep(ctx, indexPause)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func ofReceivers(namespace string) []client.ListOption {
	return []client.ListOption{client.InNamespace(namespace), client.HasLabels{v1alpha1.NotificationLabel}}
}

// read reads all messages, page by page, and returns the version that they were of.
func (x *index) read(ctx context.Context, namespace string, s *shelf) (version string, err error) {
	newest, list := map[string]numbered{}, metadataList()
	for {
		options := append(ofReceivers(namespace), client.Limit(indexPage), client.Continue(list.Continue))
		if err := x.client.List(ctx, list, options...); err != nil {
			return "", fmt.Errorf("list the messages of receivers: %w", err)
		}
		for i := range list.Items {
			enter(newest, &list.Items[i])
		}
		if list.Continue == "" {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = newest
	return list.ResourceVersion, nil
}

// changes follows what changes after a version, until the watch ends, and returns how
// far it has come.
func (x *index) changes(ctx context.Context, namespace string, s *shelf, version string) (string, error) {
	options := append(ofReceivers(namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}})
	w, err := x.client.Watch(ctx, metadataList(), options...)
	if err != nil {
		return version, fmt.Errorf("watch the messages of receivers: %w", err)
	}
	defer w.Stop()
	for event := range w.ResultChan() {
		if event.Type == watch.Error {
			return version, apierrors.FromObject(event.Object)
		}
		m, ok := event.Object.(*metav1.PartialObjectMetadata)
		if !ok {
			return version, errors.New("watch the messages of receivers: the API server sends something else")
		}
		version = m.ResourceVersion
		s.apply(event.Type, m)
	}
	return version, nil
}

func (s *shelf) apply(change watch.EventType, m *metav1.PartialObjectMetadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch change {
	case watch.Added, watch.Modified:
		enter(s.newest, m)
	case watch.Deleted:
		// Numbers begin anew where the newest is gone: those before it go first.
		hash, number := numberIn(m)
		if s.newest[hash].number <= number {
			delete(s.newest, hash)
		}
	}
}

func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = nil
}

// enter takes a message over, if it is the newest of its notification.
func enter(newest map[string]numbered, m *metav1.PartialObjectMetadata) {
	hash, number := numberIn(m)
	if number == 0 {
		return
	}
	if before, ok := newest[hash]; !ok || number > before.number {
		// Of its own: it would keep all that was decoded with it in memory.
		newest[strings.Clone(hash)] = numbered{number, m.CreationTimestamp}
	}
}
