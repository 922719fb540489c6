// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

const (
	// idleTimeout is how long a namespace is watched that nothing is received in.
	idleTimeout = time.Hour
	// maxWatches limits the namespaces that are watched.
	maxWatches = 256
)

// index knows the newest message of each notification. The API server has to look through all messages of a namespace
// to find it. So the index watches the metadata of the messages that receivers created, with one watch for each
// namespace in use. It keeps a number and a time for each notification. It may be behind: it is no more than a hint.
type index struct {
	running    atomic.Bool // before, it knows of nothing
	namespaces *apiwatch.Namespaces[*namespaceIndex]
}

// namespaceIndex is the index of one namespace. It is an apiwatch.CollectionHandler.
type namespaceIndex struct {
	messages apiwatch.Collection
	log      logr.Logger

	mu sync.Mutex
	// newest are by the notification's hash; nil while they are not known.
	newest map[string]numbered
}

func newIndex(c client.WithWatch, log logr.Logger) *index {
	return &index{namespaces: apiwatch.NewNamespaces(func(namespace string) (*namespaceIndex, func(context.Context)) {
		n := &namespaceIndex{log: log.WithValues("namespace", namespace), messages: apiwatch.Collection{
			Client: c, NewList: func() client.ObjectList { return metadataList() },
			Options: []client.ListOption{client.InNamespace(namespace), client.HasLabels{v1alpha1.NotificationLabel}},
		}}
		return n, func(ctx context.Context) { n.messages.Run(ctx, n) }
	}, idleTimeout, maxWatches)}
}

// run watches messages until ctx is done.
func (x *index) run(ctx context.Context) {
	x.running.Store(true)
	x.namespaces.Run(ctx)
}

// newest returns the newest message of a notification; number 0: there is none. Not ok: it is not known yet. The first
// call for a namespace starts its watch.
func (x *index) newest(namespace, hash string) (last numbered, ok bool) {
	if !x.running.Load() {
		return numbered{}, false
	}
	n, release, err := x.namespaces.Acquire(namespace)
	if err != nil {
		return numbered{}, false
	}
	defer release()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.newest[hash], n.newest != nil
}

// Begin implements apiwatch.CollectionHandler.
func (n *namespaceIndex) Begin(ctx context.Context) (string, error) {
	newest := map[string]numbered{}
	version, err := n.messages.Read(ctx, func(o client.Object) { recordNewest(newest, o) })
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.newest = newest
	return version, nil
}

// Change implements apiwatch.CollectionHandler.
func (n *namespaceIndex) Change(kind watch.EventType, o client.Object) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if kind != watch.Deleted {
		recordNewest(n.newest, o)
		return
	}
	// The older ones are deleted first: numbers start at 1 again.
	hash, number := numberIn(o)
	if n.newest[hash].number <= number {
		delete(n.newest, hash)
	}
}

// Lost implements apiwatch.CollectionHandler. It forgets what is not kept up to date any more: messages are listed for
// each notification, as before the first Begin.
func (n *namespaceIndex) Lost(err error) {
	n.log.Info("cannot watch the messages of receivers, will retry; lists them for each notification meanwhile",
		"reason", err.Error())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.newest = nil
}

// recordNewest records a message if it is the newest of its notification.
func recordNewest(newest map[string]numbered, o metav1.Object) {
	hash, m := numberedOf(o)
	if m.number == 0 {
		return
	}
	// The same one may be deleted by now.
	if before, ok := newest[hash]; !ok || m.number >= before.number {
		// A copy: the hash would keep all that was decoded with it in memory.
		newest[strings.Clone(hash)] = m
	}
}
