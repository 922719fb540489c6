// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
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
// first request. It keeps only messages in memory for which a request waits.
type watchPool struct {
	*apiwatch.Namespaces[*namespaceWatch]
}

// namespaceWatch watches the finished messages of one namespace: it receives a message once, with its result. It is an
// apiwatch.CollectionHandler.
type namespaceWatch struct {
	messages  apiwatch.Collection
	namespace string
	log       logr.Logger
	// started is done once events are received, failed when they cannot be, with the cause.
	started, failed context.Context
	start           context.CancelFunc
	fail            context.CancelCauseFunc

	mu      sync.Mutex
	waiters sets.Set[*waiter]
	// admissions are those of the servers in use, by name: an app key's, or the default one.
	admissions map[string]*admission
}

// waiter is a request that waits for a message.
type waiter struct {
	watch  *namespaceWatch
	name   string
	notify chan struct{}
	// finished is the message once it has finished, guarded by namespaceWatch.mu.
	finished *v1alpha1.TeamTalkMessage
}

func newWatchPool(c client.WithWatch, log logr.Logger) watchPool {
	return watchPool{apiwatch.NewNamespaces(func(namespace string) (*namespaceWatch, func(context.Context)) {
		n := newNamespaceWatch(c, namespace, log)
		return n, func(ctx context.Context) {
			n.messages.Run(ctx, n)
			n.fail(errors.New("shutting down"))
		}
	}, idleTimeout, maxIdle)}
}

func newNamespaceWatch(c client.WithWatch, namespace string, log logr.Logger) *namespaceWatch {
	n := &namespaceWatch{
		namespace: namespace, log: log.WithValues("namespace", namespace), waiters: sets.Set[*waiter]{},
		admissions: map[string]*admission{},
		messages: apiwatch.Collection{
			Client: c, NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
			Options: []client.ListOption{
				client.InNamespace(namespace), client.MatchingLabels{Label: LabelValue},
				client.MatchingFields{v1alpha1.FieldFinished: "true"},
			},
		},
	}
	n.started, n.start = context.WithCancel(context.Background())
	n.failed, n.fail = context.WithCancelCause(context.Background())
	return n
}

// acquire returns the namespace's watch once it receives events. It must be released unless there is an error.
func (p watchPool) acquire(ctx context.Context, namespace string) (n *namespaceWatch, release func(), err error) {
	n, release, err = p.Acquire(namespace)
	if err == nil {
		if err = n.waitStarted(ctx); err != nil {
			release()
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("watch the messages of namespace %q: %w", namespace, err)
	}
	return n, release, nil
}

// waitStarted waits until the watch receives events.
func (n *namespaceWatch) waitStarted(ctx context.Context) error {
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
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// admit waits until a message may be created through a server for a caller, see admission. finish must be called once
// it is not waited for any more, and says whether it has finished. Nothing waits for a nil watch.
func (n *namespaceWatch) admit(ctx context.Context, server, caller string) (finish func(finished bool), err error) {
	if n == nil {
		return func(bool) {}, nil
	}
	n.mu.Lock()
	a, ok := n.admissions[server]
	if !ok {
		a = newAdmission()
		n.admissions[server] = a
	}
	n.mu.Unlock()
	p, err := a.acquire(ctx, caller)
	if err != nil {
		return nil, err
	}
	return func(finished bool) { a.release(p, finished) }, nil
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

// wait returns the message with the uid once it has finished, or nil if ctx is done before.
func (w *waiter) wait(ctx context.Context, uid types.UID) *v1alpha1.TeamTalkMessage {
	for {
		w.watch.mu.Lock()
		m := w.finished
		w.watch.mu.Unlock()
		if m != nil && m.UID == uid {
			return m
		}
		select {
		case <-w.notify:
		case <-ctx.Done():
			return nil
		}
	}
}

// Begin implements apiwatch.CollectionHandler. It reads the messages that are waited for: events may have been missed.
func (n *namespaceWatch) Begin(ctx context.Context) (string, error) {
	version, err := n.messages.Version(ctx)
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
		err := n.messages.Client.Get(ctx, types.NamespacedName{Namespace: n.namespace, Name: name}, m)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		if err == nil {
			n.Change(watch.Added, m)
		}
	}
	n.start()
	return version, nil
}

// Change implements apiwatch.CollectionHandler. A message that is deleted, or taken up again, had finished, too.
func (n *namespaceWatch) Change(_ watch.EventType, o client.Object) {
	m, ok := o.(*v1alpha1.TeamTalkMessage)
	if !ok || !m.Finished() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.waiters { // few: the requests in flight
		if w.name != m.Name {
			continue
		}
		w.finished = m
		select {
		case w.notify <- struct{}{}:
		default: // a notification is pending
		}
	}
}

// Lost implements apiwatch.CollectionHandler.
func (n *namespaceWatch) Lost(err error) {
	n.log.Info("watching messages failed, will retry", "reason", err.Error())
	n.fail(err)
}
