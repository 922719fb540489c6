package receiver

import (
	"context"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/follow"
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

// shelf is one namespace's. It is a follow.Sink.
type shelf struct {
	source follow.Source
	log    logr.Logger

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
		s = &shelf{
			log: x.log.WithValues("namespace", namespace),
			source: follow.Source{
				Client: x.client, NewList: func() client.ObjectList { return metadataList() },
				Options: []client.ListOption{client.InNamespace(namespace), client.HasLabels{v1alpha1.NotificationLabel}},
			},
		}
		x.namespaces[namespace] = s
		ctx := x.base
		x.goroutines.Go(func() { s.source.Run(ctx, s) })
	}
	x.mu.Unlock()
	if s == nil {
		return numbered{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.newest[hash], s.newest != nil
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
	s.log.Info("the messages of receivers are not followed, and listed for each notification instead; trying again", "reason", err.Error())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.newest = nil
}

// enter takes a message over, if it is the newest of its notification.
func enter(newest map[string]numbered, o metav1.Object) {
	hash, number := numberIn(o)
	if number == 0 {
		return
	}
	if before, ok := newest[hash]; !ok || number > before.number {
		// Of its own: it would keep all that was decoded with it in memory.
		newest[strings.Clone(hash)] = numbered{number, o.GetCreationTimestamp()}
	}
}
