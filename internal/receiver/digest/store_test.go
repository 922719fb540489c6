// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// newStore returns a Store whose writes of a state call onWrite first.
func newStore(t *testing.T, onWrite func(context.Context) error) *Store {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).Build(), interceptor.Funcs{
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			if err := onWrite(ctx); err != nil {
				return err
			}
			return c.Update(ctx, o, opts...)
		},
	})
	create := func(_ context.Context, r *v1alpha1.TeamTalkReceiver, name string, to []v1alpha1.Recipient, at time.Time) (*v1alpha1.TeamTalkMessage, error) {
		return nil, fmt.Errorf("%s of %s to %v at %s: no digest is expected", name, r.Name, to, at)
	}
	report := func(_ *v1alpha1.TeamTalkReceiver, problem error) { t.Error(problem) }
	return NewStore(Options{Client: c, Create: create, LineTime: time.Second, Report: report, Now: time.Now})
}

// TestRequestsShareAWrite: requests during a write share the next one, and one that gives up harms none.
func TestRequestsShareAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var writes atomic.Int32
		hold := make(chan struct{})
		s := newStore(t, func(ctx context.Context) error {
			writes.Add(1)
			select {
			case <-hold:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		r := newReceiver(v1alpha1.FloodControl{Messages: 1000, WindowSeconds: 3600})
		decide := func(ctx context.Context, hash string) ([]Decision, error) {
			return s.Decide(ctx, r, []Notification{newNotification(hash, users(2, 1))})
		}
		if _, err := decide(t.Context(), "creates the state"); err != nil {
			t.Fatal(err)
		}
		giveUp, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := decide(giveUp, "gives up"); err == nil {
				t.Error("it did not give up")
			}
		})
		synctest.Wait()
		const others = 20
		for i := range others {
			wg.Go(func() {
				if got, err := decide(t.Context(), fmt.Sprint("other", i)); err != nil || !got[0].Fresh || len(got[0].To) != 1 {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		close(hold)
		wg.Wait()
		if got, err := decide(t.Context(), "gives up"); err != nil || got[0].Fresh {
			t.Errorf("what gave up: %+v, %v", got, err)
		}
		if writes.Load() != 2 || len(s.batches) != 0 {
			t.Errorf("%d writes, %d batches", writes.Load(), len(s.batches))
		}
	})
}

// TestAWriteThatHangs: its requests fail in time, and those after it do not.
func TestAWriteThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := true
		s := newStore(t, func(ctx context.Context) error {
			if hangs {
				<-ctx.Done()
			}
			return ctx.Err()
		})
		r := newReceiver(v1alpha1.FloodControl{Messages: 1000, WindowSeconds: 3600})
		decide := func(hash string) ([]Decision, error) {
			return s.Decide(t.Context(), r, []Notification{newNotification(hash, users(2, 1))})
		}
		if _, err := decide("creates the state"); err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if got, err := decide("hangs"); err == nil || got != nil || time.Since(before) != batchTimeout {
			t.Errorf("%+v, %v after %s", got, err, time.Since(before))
		}
		hangs = false
		if got, err := decide("hangs"); err != nil || !got[0].Fresh {
			t.Errorf("again: %+v, %v", got, err)
		}
	})
}

// inBatch has several requests decided in one batch, and returns their errors.
func inBatch(t *testing.T, s *Store, requests ...*request) []error {
	t.Helper()
	hold := make(chan struct{})
	before := &batch{begun: true, done: hold}
	key := client.ObjectKeyFromObject(requests[0].receiver)
	s.batches[key] = before
	errs := make([]error, len(requests))
	var wg sync.WaitGroup
	for i, one := range requests {
		b := s.join(t.Context(), one)
		wg.Go(func() {
			<-b.done
			if errs[i] = one.err; (one.decisions == nil) != errors.Is(one.err, ErrFull) {
				t.Errorf("%d: %d decisions, %v", i, len(one.decisions), one.err)
			}
		})
	}
	close(hold)
	wg.Wait()
	return errs
}

// sentDigest is a Create.
func sentDigest(
	context.Context, *v1alpha1.TeamTalkReceiver, string, []v1alpha1.Recipient, time.Time,
) (*v1alpha1.TeamTalkMessage, error) {
	return nil, nil
}

// TestARequestThatDoesNotFit fails alone, wherever in the batch it is.
func TestARequestThatDoesNotFit(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 3600})
	for place := range 5 {
		t.Run(fmt.Sprint(place), func(t *testing.T) {
			s := newStore(t, func(context.Context) error { return nil })
			s.options.Create = sentDigest
			var requests []*request
			for i := range 5 {
				one := &request{receiver: r}
				for n := range map[bool]int{true: 20_000, false: 3}[i == place] {
					one.notifications = append(one.notifications, newNotification(fmt.Sprintf("%020d-%d", n, i), users(2, 1)))
				}
				requests = append(requests, one)
			}
			for i, err := range inBatch(t, s, requests...) {
				if errors.Is(err, ErrFull) != (i == place) || i != place && err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
			_, state, err := s.read(t.Context(), r)
			if err != nil || len(state.Entries) != 4*3 || len(state.Digests) != 1 || state.Digests[0].Count != 4*3-1 {
				t.Errorf("%d entries, %+v, %v", len(state.Entries), state.Digests, err)
			}
		})
	}
}

// TestADigestThatCannotBePublished fails the requests that it is about, and no others of their batch.
func TestADigestThatCannotBePublished(t *testing.T) {
	r := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 3600})
	allow(r, 5)
	s := newStore(t, func(context.Context) error { return nil })
	broken := errors.New("it is broken")
	s.options.Create = func(
		ctx context.Context, r *v1alpha1.TeamTalkReceiver, name string, to []v1alpha1.Recipient, at time.Time,
	) (*v1alpha1.TeamTalkMessage, error) {
		if to[0].ID == 2 {
			return nil, broken
		}
		return nil, nil
	}
	newRequest := func(hash string, to []v1alpha1.Recipient) *request {
		return &request{receiver: r, notifications: []Notification{newNotification(hash, to)}}
	}
	errs := inBatch(t, s, newRequest("first", users(1, 3)), newRequest("of 1", users(1, 1)), newRequest("of 2", users(2, 1)),
		newRequest("of 3", users(3, 1)), newRequest("of 1 and 2", users(1, 2)))
	if want := []error{nil, nil, broken, nil, broken}; !slices.Equal(errs, want) {
		t.Errorf("%v, want %v", errs, want)
	}
	// A notification for user 4, and a repeat for user 2.
	errs = inBatch(t, s, newRequest("of 4", users(4, 1)), newRequest("of 2", users(2, 1)))
	if want := []error{nil, broken}; !slices.Equal(errs, want) {
		t.Errorf("%v, want %v", errs, want)
	}
}

// TestDeletedReceivers: nothing is kept of the digests of a receiver that is not posted to any more.
func TestDeletedReceivers(t *testing.T) {
	s := newStore(t, func(context.Context) error { return nil })
	s.options.Create = sentDigest
	now := time.Now()
	s.options.Now = func() time.Time { return now }
	deleted := newReceiver(v1alpha1.FloodControl{Messages: 1, WindowSeconds: 60})
	decide := func(r *v1alpha1.TeamTalkReceiver, hash string) {
		t.Helper()
		if _, err := s.Decide(t.Context(), r, []Notification{newNotification(hash, users(2, 1))}); err != nil {
			t.Fatal(err)
		}
	}
	decide(deleted, "A")
	decide(deleted, "B")
	if len(s.published) != 1 {
		t.Errorf("%v", s.published)
	}
	now = now.Add(time.Minute + max(Delay, deleted.DedupWindow()) + time.Second)
	other := deleted.DeepCopy()
	other.Name, other.UID = "other", "other"
	decide(other, "A")
	if len(s.published) != 0 {
		t.Errorf("%v", s.published)
	}
}
