// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/follow"
)

const (
	// startTimeout is how long the first request of a namespace waits for its watch.
	startTimeout = 2 * time.Second
	// idleTimeout is how long an unused watch is kept.
	idleTimeout = 10 * time.Minute
	// maxIdle limits the unused watches: callers may name any namespace.
	maxIdle = 64
)

// watchPool notifies requests about their messages. It has one watch for each namespace in use, which starts with the
// first request. It keeps only those messages in memory that a request waits for.
type watchPool struct {
	ctx    context.Context
	cancel context.CancelFunc
	client client.WithWatch
	log    logr.Logger

	mu         sync.Mutex
	namespaces map[string]*namespaceWatch
	goroutines sync.WaitGroup
}

// namespaceWatch watches the messages of one namespace. It is a follow.Sink.
type namespaceWatch struct {
	source    follow.Source
	namespace string
	log       logr.Logger
	// started is done once events are received, failed when they cannot be, with the cause.
	started, failed context.Context
	start           context.CancelFunc
	fail            context.CancelCauseFunc
	stop            context.CancelFunc
	// Guarded by watchPool.mu: the number of users, and when the last one left.
	users    int
	lastUsed time.Time

	mu      sync.Mutex
	waiters sets.Set[*waiter]
}

// waiter is a request that waits for a message.
type waiter struct {
	watch  *namespaceWatch
	name   string
	notify chan struct{}
	// Guarded by namespaceWatch.mu: the message as last seen, and whether it was deleted then.
	seen    *v1alpha1.TeamTalkMessage
	deleted bool
}

func newWatchPool(c client.WithWatch, log logr.Logger) *watchPool {
	p := &watchPool{client: c, log: log, namespaces: map[string]*namespaceWatch{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// stop ends all watches and waits for them.
func (p *watchPool) stop() {
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.goroutines.Wait()
}

// acquire returns the namespace's watch once it receives events. It must be released unless there is an error.
func (p *watchPool) acquire(ctx context.Context, namespace string) (*namespaceWatch, error) {
	n := p.use(namespace)
	if err := p.waitStarted(ctx, n); err != nil {
		p.release(n)
		return nil, fmt.Errorf("watch the messages of namespace %q: %w", namespace, err)
	}
	return n, nil
}

// use returns the namespace's watch with one more user. It starts the watch if there is none.
func (p *watchPool) use(namespace string) *namespaceWatch {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.namespaces[namespace]
	if !ok {
		n = &namespaceWatch{
			namespace: namespace, log: p.log.WithValues("namespace", namespace), waiters: sets.Set[*waiter]{},
			source: follow.Source{
				Client: p.client, NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
				Options: []client.ListOption{client.InNamespace(namespace), client.MatchingLabels{Label: LabelValue}},
			},
		}
		var ctx context.Context
		ctx, n.stop = context.WithCancel(p.ctx)
		n.started, n.start = context.WithCancel(context.Background())
		n.failed, n.fail = context.WithCancelCause(context.Background())
		p.namespaces[namespace] = n
		p.goroutines.Go(func() { n.source.Run(ctx, n) })
	}
	n.users++
	return n
}

func (p *watchPool) release(n *namespaceWatch) {
	p.mu.Lock()
	n.users--
	n.lastUsed = time.Now()
	p.mu.Unlock()
	p.evict()
}

// evict ends the watches that were not used for idleTimeout, and the oldest of too many unused ones.
func (p *watchPool) evict() {
	p.mu.Lock()
	defer p.mu.Unlock()
	unused := slices.SortedFunc(maps.Values(p.namespaces), func(a, b *namespaceWatch) int {
		return b.lastUsed.Compare(a.lastUsed)
	})
	unused = slices.DeleteFunc(unused, func(n *namespaceWatch) bool { return n.users > 0 })
	for i, n := range unused {
		if i >= maxIdle || time.Since(n.lastUsed) >= idleTimeout {
			n.stop()
			delete(p.namespaces, n.namespace)
		}
	}
}

// waitStarted waits until the watch receives events.
func (p *watchPool) waitStarted(ctx context.Context, n *namespaceWatch) error {
	if n.started.Err() != nil { // even if it failed before
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the API server does not answer"))
	defer cancel()
	select {
	case <-n.started.Done():
		return nil
	case <-n.failed.Done():
		if err := context.Cause(n.failed); !apierrors.IsForbidden(err) {
			return err
		}
		return notAllowed(n.namespace)
	case <-p.ctx.Done():
		return errors.New("shutting down")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// expect registers a waiter for the message of a name, which need not exist yet. The waiter must be removed. It is
// nil for a nil watch.
func (n *namespaceWatch) expect(name string) *waiter {
	if n == nil {
		return nil
	}
	w := &waiter{watch: n, name: name, notify: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waiters.Insert(w)
	return w
}

func (w *waiter) remove() {
	if w == nil {
		return
	}
	w.watch.mu.Lock()
	defer w.watch.mu.Unlock()
	w.watch.waiters.Delete(w)
}

// wait waits until the message has finished or was deleted, or ctx is done. It returns the message as last seen.
func (w *waiter) wait(ctx context.Context, m *v1alpha1.TeamTalkMessage) (seen *v1alpha1.TeamTalkMessage, deleted bool) {
	for {
		w.watch.mu.Lock()
		if w.seen != nil && w.seen.UID == m.UID {
			m, deleted = w.seen, w.deleted
		}
		w.watch.mu.Unlock()
		if deleted || m.Finished() {
			return m, deleted
		}
		select {
		case <-w.notify:
		case <-ctx.Done():
			return m, false
		}
	}
}

// Begin implements follow.Sink. It reads the messages that are waited for: events may have been missed.
func (n *namespaceWatch) Begin(ctx context.Context) (string, error) {
	version, err := n.source.Version(ctx)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	names := sets.Set[string]{}
	for w := range n.waiters {
		names.Insert(w.name)
	}
	n.mu.Unlock()
	for name := range names {
		m := &v1alpha1.TeamTalkMessage{}
		err := n.source.Client.Get(ctx, types.NamespacedName{Namespace: n.namespace, Name: name}, m)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		if err == nil {
			n.Change(apiwatch.Modified, m)
		}
	}
	n.start()
	return version, nil
}

// Change implements follow.Sink.
func (n *namespaceWatch) Change(event apiwatch.EventType, o client.Object) {
	m, ok := o.(*v1alpha1.TeamTalkMessage)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.waiters { // few: the requests in flight
		if w.name != m.Name {
			continue
		}
		w.seen, w.deleted = m, event == apiwatch.Deleted
		select {
		case w.notify <- struct{}{}:
		default: // a notification is pending
		}
	}
}

// Lost implements follow.Sink.
func (n *namespaceWatch) Lost(err error) {
	n.log.Info("watching messages failed, will retry", "reason", err.Error())
	n.fail(err)
}
