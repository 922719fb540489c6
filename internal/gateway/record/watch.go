package record

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// syncPatience is how long the first request of a namespace waits for its watch.
const syncPatience = 2 * time.Second

// watches tell waiting requests of their messages: one watch for each namespace that
// messages are sent from, of the gateways' messages alone, begun with the first
// request and kept.
type watches struct {
	base context.Context
	open func(namespace string) (cache.Cache, error)
	log  logr.Logger

	mu         sync.Mutex
	namespaces map[string]*watch
	goroutines sync.WaitGroup
}

// watch is one namespace's.
type watch struct {
	synced chan struct{}
	ended  chan struct{}

	mu      sync.Mutex
	seen    map[string]*v1alpha1.TeamTalkMessage // by name
	waiting map[string]map[chan struct{}]struct{}
}

// of returns the namespace's watch once it shows what there is.
func (w *watches) of(ctx context.Context, namespace string) (*watch, error) {
	w.mu.Lock()
	n, ok := w.namespaces[namespace]
	if !ok {
		n = &watch{
			synced: make(chan struct{}), ended: make(chan struct{}),
			seen: map[string]*v1alpha1.TeamTalkMessage{}, waiting: map[string]map[chan struct{}]struct{}{},
		}
		w.namespaces[namespace] = n
		w.goroutines.Go(func() { w.run(namespace, n) })
	}
	w.mu.Unlock()
	timer := time.NewTimer(syncPatience)
	defer timer.Stop()
	select {
	case <-n.synced:
		return n, nil
	case <-n.ended:
		return nil, fmt.Errorf("watch the messages of namespace %q: it has ended", namespace)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, fmt.Errorf("watch the messages of namespace %q: the API server does not answer, or the gateway lacks the right to list and watch teamtalkmessages there", namespace)
	}
}

// run watches until the base context is done. One that cannot begin is forgotten, so
// that the next request tries again.
func (w *watches) run(namespace string, n *watch) {
	defer close(n.ended)
	if err := w.follow(namespace, n); err != nil && w.base.Err() == nil {
		w.log.Error(err, "messages are not watched", "namespace", namespace)
	}
	w.mu.Lock()
	delete(w.namespaces, namespace)
	w.mu.Unlock()
}

func (w *watches) follow(namespace string, n *watch) error {
	c, err := w.open(namespace)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(w.base)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- c.Start(ctx) }()
	informer, err := c.GetInformer(ctx, &v1alpha1.TeamTalkMessage{}, cache.BlockUntilSynced(false))
	if err == nil {
		_, err = informer.AddEventHandler(n)
	}
	if err == nil && !c.WaitForCacheSync(ctx) {
		err = errors.New("its first list has not come in")
	}
	if err != nil {
		cancel()
		return errors.Join(err, <-ended)
	}
	close(n.synced)
	return <-ended
}

// OnAdd implements cache.ResourceEventHandler, like the others.
func (n *watch) OnAdd(obj any, _ bool) { n.show(obj) }

// OnUpdate is told of every change.
func (n *watch) OnUpdate(_, obj any) { n.show(obj) }

// OnDelete forgets what is gone; who waits for it is told.
func (n *watch) OnDelete(obj any) {
	if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	m, ok := obj.(*v1alpha1.TeamTalkMessage)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, m.Name)
	n.wake(m.Name)
}

func (n *watch) show(obj any) {
	m, ok := obj.(*v1alpha1.TeamTalkMessage)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen[m.Name] = m
	n.wake(m.Name)
}

// wake needs the lock.
func (n *watch) wake(name string) {
	for c := range n.waiting[name] {
		select {
		case c <- struct{}{}:
		default: // it looks presently
		}
	}
}

// until waits for the end of a message of that name and UID, and returns how it was
// last seen, which is nil where it was not seen yet. gone: it was deleted meanwhile.
func (n *watch) until(ctx context.Context, name string, uid types.UID) (seen *v1alpha1.TeamTalkMessage, gone bool) {
	woken := make(chan struct{}, 1)
	n.mu.Lock()
	if n.waiting[name] == nil {
		n.waiting[name] = map[chan struct{}]struct{}{}
	}
	n.waiting[name][woken] = struct{}{}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.waiting[name], woken)
		if len(n.waiting[name]) == 0 {
			delete(n.waiting, name)
		}
	}()
	for {
		n.mu.Lock()
		now := n.seen[name]
		n.mu.Unlock()
		switch {
		case now != nil && now.UID == uid:
			if seen = now; seen.Finished() {
				return seen, false
			}
		case seen != nil:
			return seen, true
		}
		select {
		case <-woken:
		case <-ctx.Done():
			return seen, false
		case <-n.ended:
			return seen, false
		}
	}
}

// slim drops on its way into memory what no waiting request looks at.
func slim(obj any) (any, error) {
	if m, ok := obj.(*v1alpha1.TeamTalkMessage); ok {
		m.ManagedFields, m.Annotations, m.Labels = nil, nil, nil
		m.Spec = v1alpha1.TeamTalkMessageSpec{}
	}
	return obj, nil
}
