package crd

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/follow"
)

const (
	// syncPatience is how long the first request of a namespace waits for its watch.
	syncPatience = 2 * time.Second
	// idle is how long a watch is kept that nobody uses.
	idle = 10 * time.Minute
	// maxIdle is how many of these there are at most: callers may name any namespace.
	maxIdle = 64
)

// watches tell waiting requests of their messages: one watch for each namespace that
// messages are sent from, of the gateways' messages alone, begun with the first
// request and kept for as long as there are more. They hold those that somebody waits
// for, and no others.
type watches struct {
	base   context.Context
	client client.WithWatch
	log    logr.Logger

	mu         sync.Mutex
	namespaces map[string]*watch
	goroutines sync.WaitGroup
}

// watch is one namespace's. It is a follow.Sink.
type watch struct {
	source    follow.Source
	namespace string
	log       logr.Logger
	// begun is closed once changes are told, lost when they cannot be, with why in
	// lostFor.
	begun, lost         chan struct{}
	beginOnce, loseOnce sync.Once
	lostFor             error
	// stop ends it. users are at it now, the last one left it at used; guarded by
	// watches.mu.
	stop  context.CancelFunc
	users int
	used  time.Time

	mu      sync.Mutex
	waiting map[string]map[*waiter]struct{} // by name
}

// waiter is a request that waits for the message of a name.
type waiter struct {
	watch *watch
	name  string
	woken chan struct{}
	// Guarded by watch.mu: how the message was last seen, and whether it is gone.
	seen *v1alpha1.TeamTalkMessage
	gone bool
}

// of returns the namespace's watch once it tells of changes. Without an error, leave must
// be called when it is not used any more.
func (w *watches) of(ctx context.Context, namespace string) (*watch, error) {
	n := w.enter(namespace)
	err := w.begun(ctx, n)
	if err != nil {
		w.leave(n)
		return nil, err
	}
	return n, nil
}

// enter returns the namespace's watch for one more user, and begins it if need be.
func (w *watches) enter(namespace string) *watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.namespaces[namespace]
	if !ok {
		ctx, stop := context.WithCancel(w.base)
		n = &watch{
			stop:      stop,
			namespace: namespace, log: w.log.WithValues("namespace", namespace),
			begun: make(chan struct{}), lost: make(chan struct{}), waiting: map[string]map[*waiter]struct{}{},
			source: follow.Source{
				Client: w.client, NewList: func() client.ObjectList { return &v1alpha1.TeamTalkMessageList{} },
				Options: []client.ListOption{client.InNamespace(namespace), client.MatchingLabels{Label: LabelValue}},
			},
		}
		w.namespaces[namespace] = n
		w.goroutines.Go(func() { n.source.Run(ctx, n) })
	}
	n.users++
	return n
}

// leave takes back what enter or of has given.
func (w *watches) leave(n *watch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n.users--
	n.used = time.Now()
	w.tidy()
}

// tidy ends watches that nobody uses: those of long ago, and the oldest of too many.
// It must be called with w.mu held.
func (w *watches) tidy() {
	unused := make([]*watch, 0, len(w.namespaces))
	for _, n := range w.namespaces {
		if n.users == 0 {
			unused = append(unused, n)
		}
	}
	slices.SortFunc(unused, func(a, b *watch) int { return b.used.Compare(a.used) }) // the newest first
	for i, n := range unused {
		if i >= maxIdle || time.Since(n.used) >= idle {
			n.stop()
			delete(w.namespaces, n.namespace)
		}
	}
}

// begun waits until a watch tells of changes.
func (w *watches) begun(ctx context.Context, n *watch) error {
	select {
	case <-n.begun:
		return nil
	default:
	}
	timer := time.NewTimer(syncPatience)
	defer timer.Stop()
	select {
	case <-n.begun:
		return nil
	case <-n.lost:
		if apierrors.IsForbidden(n.lostFor) {
			return notAllowed(n.namespace)
		}
		return fmt.Errorf("watch the messages of namespace %q: %w", n.namespace, n.lostFor)
	case <-w.base.Done():
		return fmt.Errorf("watch the messages of namespace %q: shutting down", n.namespace)
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("watch the messages of namespace %q: the API server does not answer", n.namespace)
	}
}

// expect begins to wait for the message of a name, which need not exist yet. The waiter
// must be released.
func (n *watch) expect(name string) *waiter {
	w := &waiter{watch: n, name: name, woken: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.waiting[name] == nil {
		n.waiting[name] = map[*waiter]struct{}{}
	}
	n.waiting[name][w] = struct{}{}
	return w
}

// release ends the waiting; it may be called more than once, and of nil.
func (w *waiter) release() {
	if w == nil {
		return
	}
	n := w.watch
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.waiting[w.name], w)
	if len(n.waiting[w.name]) == 0 {
		delete(n.waiting, w.name)
	}
}

// until waits for the end of the message with that UID, and returns how it was last
// seen, which is nil where it was not seen yet. gone: it was deleted meanwhile.
func (w *waiter) until(ctx context.Context, uid types.UID) (seen *v1alpha1.TeamTalkMessage, gone bool) {
	for {
		w.watch.mu.Lock()
		if w.seen != nil && w.seen.UID == uid {
			seen, gone = w.seen, w.gone
		}
		w.watch.mu.Unlock()
		if seen != nil && (gone || seen.Finished()) {
			return seen, gone
		}
		select {
		case <-w.woken:
		case <-ctx.Done():
			return seen, false
		}
	}
}

// Begin implements follow.Sink. Of those that are waited for, changes may have been
// missed.
func (n *watch) Begin(ctx context.Context) (string, error) {
	version, err := n.source.Version(ctx)
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	names := make([]string, 0, len(n.waiting))
	for name := range n.waiting {
		names = append(names, name)
	}
	n.mu.Unlock()
	for _, name := range names {
		m := &v1alpha1.TeamTalkMessage{}
		err := n.source.Client.Get(ctx, types.NamespacedName{Namespace: n.namespace, Name: name}, m)
		if client.IgnoreNotFound(err) != nil {
			return "", err
		}
		if err == nil {
			n.Change(apiwatch.Modified, m)
		}
	}
	n.beginOnce.Do(func() { close(n.begun) })
	return version, nil
}

// Change implements follow.Sink.
func (n *watch) Change(kind apiwatch.EventType, o client.Object) {
	m, ok := o.(*v1alpha1.TeamTalkMessage)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for w := range n.waiting[m.Name] {
		w.seen, w.gone = m, kind == apiwatch.Deleted
		select {
		case w.woken <- struct{}{}:
		default: // it looks presently
		}
	}
}

// Lost implements follow.Sink.
func (n *watch) Lost(err error) {
	n.log.Info("messages are not watched; trying again", "reason", err.Error())
	n.loseOnce.Do(func() {
		n.lostFor = err
		close(n.lost)
	})
}
