// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/follow"
)

const (
	// idle is how long a namespace is followed that nothing is received in.
	idle = time.Hour
	// refusedPause is how long it is not tried again where it may not be followed.
	refusedPause = 30 * time.Second
	// maxShelves is how many namespaces are followed at most.
	maxShelves = 256
)

// index knows the newest message of each notification. The API server has to look
// through all messages of a namespace to find it, so this follows them: by one watch
// for each namespace that is received in, of the metadata of messages that receivers
// have made, of which it keeps a number and a time for each notification. It may be
// behind, and must then be no more than a hint. What is not received in any more, or
// may not be followed, is let go.
type index struct {
	client client.WithWatch
	log    logr.Logger
	now    func() time.Time

	mu         sync.Mutex
	base       context.Context // nil: not open
	namespaces map[string]*shelf
	goroutines sync.WaitGroup
}

// shelf is one namespace's. It is a follow.Sink.
type shelf struct {
	source follow.Source
	log    logr.Logger
	// stop ends the following.
	stop context.CancelFunc
	// asked is when somebody last wanted to know. It is guarded by index.mu.
	asked time.Time

	mu sync.Mutex
	// newest are by the notification's hash; nil until all were read once.
	newest map[string]numbered
	// refused tells that it may not be followed.
	refused bool
}

func newIndex(c client.WithWatch, log logr.Logger) *index {
	return &index{client: c, log: log, now: time.Now, namespaces: map[string]*shelf{}}
}

// open lets it follow messages until ctx is done; before, it knows of none.
func (x *index) open(ctx context.Context) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.base = ctx
	x.goroutines.Go(func() {
		tick := time.NewTicker(idle / 10)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				x.tidy(maxShelves)
			case <-ctx.Done():
				return
			}
		}
	})
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
	s := x.shelf(namespace)
	if s == nil {
		return numbered{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest[hash], s.newest != nil
}

// shelf returns a namespace's, which is followed from now on if it is not yet.
func (x *index) shelf(namespace string) *shelf {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.base == nil {
		return nil
	}
	if s := x.namespaces[namespace]; s != nil {
		s.asked = x.now()
		return s
	}
	x.drop(maxShelves - 1)
	ctx, stop := context.WithCancel(x.base)
	s := &shelf{
		log: x.log.WithValues("namespace", namespace), stop: stop, asked: x.now(),
		source: follow.Source{
			Client: x.client, NewList: func() client.ObjectList { return metadataList() },
			Options: []client.ListOption{client.InNamespace(namespace), client.HasLabels{v1alpha1.NotificationLabel}},
		},
	}
	x.namespaces[namespace] = s
	x.goroutines.Go(func() {
		defer stop()
		s.source.Run(ctx, s)
		x.leave(namespace, s)
	})
	return s
}

// leave lets go of a namespace that is not followed any more: after a while, where it
// was refused.
func (x *index) leave(namespace string, s *shelf) {
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	if refused {
		x.mu.Lock()
		base := x.base
		x.mu.Unlock()
		if base != nil {
			select {
			case <-time.After(refusedPause):
			case <-base.Done():
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.namespaces[namespace] == s {
		delete(x.namespaces, namespace)
	}
}

// tidy is drop, by itself.
func (x *index) tidy(most int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(most)
}

// drop lets go of namespaces that are idle, and of those that nobody has asked about
// for longest where there are more than so many.
func (x *index) drop(most int) {
	byAge := slices.SortedFunc(maps.Keys(x.namespaces), func(a, b string) int {
		return x.namespaces[a].asked.Compare(x.namespaces[b].asked)
	})
	for i, namespace := range byAge {
		if s := x.namespaces[namespace]; len(byAge)-i > most || x.now().Sub(s.asked) > idle {
			s.stop()
			delete(x.namespaces, namespace)
		}
	}
}

// Begin implements follow.Sink.
func (s *shelf) Begin(ctx context.Context) (string, error) {
	newest := map[string]numbered{}
	version, err := s.source.Read(ctx, func(o client.Object) { enter(newest, o) })
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = newest
	return version, nil
}

// Change implements follow.Sink.
func (s *shelf) Change(kind watch.EventType, o client.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind != watch.Deleted {
		enter(s.newest, o)
		return
	}
	// Numbers begin anew where the newest is gone: those before it go first.
	hash, number := numberIn(o)
	if s.newest[hash].number <= number {
		delete(s.newest, hash)
	}
}

// Lost implements follow.Sink. What would be older and older is forgotten: notifications
// are listed, as before all was read.
func (s *shelf) Lost(err error) {
	s.log.Info("the messages of receivers are not followed, and listed for each notification instead; trying again",
		"reason", err.Error())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = nil
	if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
		s.refused = true
		s.stop()
	}
}

// enter takes a message over, if it is the newest of its notification.
func enter(newest map[string]numbered, o metav1.Object) {
	hash, n := numberedOf(o)
	if n.number == 0 {
		return
	}
	// The same one may be deleted by now.
	if before, ok := newest[hash]; !ok || n.number >= before.number {
		// Of its own: it would keep all that was decoded with it in memory.
		newest[strings.Clone(hash)] = n
	}
}
