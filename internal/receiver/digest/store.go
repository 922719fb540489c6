// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

const (
	// stateKey is where the state is in its ConfigMap, as JSON.
	stateKey = "state"
	// batchTimeout limits the time of a batch.
	batchTimeout = 5 * time.Second
)

// Create creates the message of a digest, which takes its text from the key TextKey of the ConfigMap of its name. It
// returns nil if there is such a message.
type Create func(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, name string, to []v1alpha1.Recipient, sendAfter time.Time,
) (*v1alpha1.TeamTalkMessage, error)

// Options are the dependencies of a Store.
type Options struct {
	// Client reads live.
	Client client.Client
	Create Create
	// LineTime limits the time that a batch waits for lines, so that a slow template does not block the write of the
	// state.
	LineTime time.Duration
	// Report receives an error of a digest, for the user, if no request fails because of it.
	Report func(r *v1alpha1.TeamTalkReceiver, problem error)
	Now    func() time.Time
}

// Store decides on notifications of receivers with flood control.
type Store struct {
	options Options

	mu sync.Mutex
	// batches has the last batch of each receiver that has one.
	batches map[types.NamespacedName]*batch
	// published has the digests that this process has published.
	published map[types.NamespacedName]published
}

// published is the count up to which a digest is published. It is dropped when the state does not need it any more.
type published struct {
	count   int
	expires time.Time
}

// NewStore returns a Store.
func NewStore(o Options) *Store {
	return &Store{
		options: o, batches: map[types.NamespacedName]*batch{}, published: map[types.NamespacedName]published{},
	}
}

// batch is a write of the state for all requests that arrived since the previous one began.
type batch struct {
	previous *batch
	// Guarded by Store.mu.
	begun    bool
	requests []*request

	done chan struct{}
}

type request struct {
	receiver      *v1alpha1.TeamTalkReceiver
	notifications []Notification
	// The result, once the batch is done.
	decisions []Decision
	err       error
}

// Decide decides on the notifications of a request, and publishes the digests of their recipients. If the decisions are
// not nil, they are recorded, even if there is an error: then not all digests could be published. A request that ends
// before its decision is decided nevertheless.
func (s *Store) Decide(ctx context.Context, r *v1alpha1.TeamTalkReceiver, list []Notification) ([]Decision, error) {
	own := &request{receiver: r, notifications: list}
	b := s.join(ctx, own)
	select {
	case <-b.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for flood control: %w", ctx.Err())
	}
	return own.decisions, own.err
}

// join adds a request to the batch of its receiver that has not begun, or to a new one.
func (s *Store) join(ctx context.Context, own *request) *batch {
	key := client.ObjectKeyFromObject(own.receiver)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.batches[key]
	if b == nil || b.begun {
		b = &batch{previous: b, done: make(chan struct{})}
		s.batches[key] = b
		// It must not end with the first of its requests.
		go s.run(context.WithoutCancel(ctx), key, b)
	}
	b.requests = append(b.requests, own)
	return b
}

// run writes a batch when the previous one is done.
func (s *Store) run(ctx context.Context, key types.NamespacedName, b *batch) {
	if b.previous != nil {
		<-b.previous.done
		b.previous = nil
	}
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	s.mu.Lock()
	b.begun = true
	s.mu.Unlock()
	rendering, cancelRendering := context.WithTimeout(ctx, s.options.LineTime)
	defer cancelRendering()
	s.decide(ctx, rendering, b.requests)
	now := s.options.Now()
	s.mu.Lock()
	maps.DeleteFunc(s.published, func(_ types.NamespacedName, p published) bool { return now.After(p.expires) })
	if s.batches[key] == b {
		delete(s.batches, key)
	}
	s.mu.Unlock()
	close(b.done)
}

// decide decides on requests, and publishes digests. If the state cannot hold all of them, it decides on each half, so
// that a request fails only if the state cannot hold it alone.
func (s *Store) decide(ctx, rendering context.Context, requests []*request) {
	state, err := s.write(ctx, rendering, requests)
	switch {
	case errors.Is(err, ErrFull) && len(requests) > 1:
		middle := len(requests) / 2
		s.decide(ctx, rendering, requests[:middle])
		s.decide(ctx, rendering, requests[middle:])
	case err != nil:
		for _, one := range requests {
			one.decisions, one.err = nil, err
		}
	default:
		s.publishFor(ctx, state, requests)
	}
}

// write decides on requests and writes the state. It retries while another process has written the state first.
func (s *Store) write(ctx, rendering context.Context, requests []*request) (*State, error) {
	r := requests[0].receiver
	for {
		cm, state, err := s.read(ctx, r)
		if err != nil {
			return nil, err
		}
		now := s.options.Now()
		changed := s.settle(ctx, r, state, now)
		for _, one := range requests {
			var fresh bool
			one.decisions, fresh = newLimiter(state, one.receiver, now).decide(rendering, one.notifications)
			changed = changed || fresh
		}
		if !changed {
			return state, nil
		}
		text, err := state.encode(r.DedupWindow(), now, maxState)
		if err != nil {
			return nil, err
		}
		cm.Data, cm.BinaryData = map[string]string{stateKey: text}, nil
		if retry, err := s.put(ctx, cm); err != nil {
			return nil, fmt.Errorf("write the state of flood control in ConfigMap %s: %w", cm.Name, err)
		} else if !retry {
			return state, nil
		}
	}
}

// put writes a ConfigMap. It asks for a retry, after a while, if another process has written it.
func (s *Store) put(ctx context.Context, cm *corev1.ConfigMap) (retry bool, err error) {
	if cm.ResourceVersion == "" {
		err = s.options.Client.Create(ctx, cm)
	} else {
		err = s.options.Client.Update(ctx, cm)
	}
	if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
		return false, err
	}
	select {
	case <-time.After(rand.N(100 * time.Millisecond)):
		return true, nil
	case <-ctx.Done():
		return false, fmt.Errorf("other processes write it first each time: %w", ctx.Err())
	}
}

func newState() *State { return &State{Epoch: string(uuid.NewUUID())} }

// read returns the state and its ConfigMap, or new ones.
func (s *Store) read(ctx context.Context, r *v1alpha1.TeamTalkReceiver) (*corev1.ConfigMap, *State, error) {
	cm := &corev1.ConfigMap{}
	name := StateName(r)
	err := s.options.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, cm)
	switch {
	case apierrors.IsNotFound(err):
		return newConfigMap(r, name), newState(), nil
	case err != nil:
		return nil, nil, fmt.Errorf("read the state of flood control from ConfigMap %s: %w", name, err)
	case !metav1.IsControlledBy(cm, r):
		return nil, nil, fmt.Errorf("ConfigMap %s does not belong to the receiver, which needs it for flood control: "+
			"rename or delete it", cm.Name)
	}
	state, err := decode(cm.Data[stateKey])
	if err != nil { // as if it had been deleted: alerts are worth more than the counts
		s.options.Report(r, fmt.Errorf("flood control's ConfigMap %s was damaged: its counts restart", name))
		state = newState()
	}
	return cm, state, nil
}

// newConfigMap returns a ConfigMap that is deleted with the receiver.
func newConfigMap(r *v1alpha1.TeamTalkReceiver, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Namespace: r.Namespace, Name: name,
		Labels:          map[string]string{v1alpha1.ReceiverLabel: r.Name},
		OwnerReferences: []metav1.OwnerReference{r.OwnerReference()},
	}}
}

// StateName is the name of the ConfigMap with the state. A deleted receiver of the same name has left another one.
func StateName(r *v1alpha1.TeamTalkReceiver) string {
	return fmt.Sprintf("teamtalk-receiver-%s-%.10s", r.Name, notification.Hash("state", string(r.UID)))
}
