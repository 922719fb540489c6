// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"context"
	"fmt"
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
	return NewStore(Options{Client: c, Create: create, LineTime: time.Second, Now: time.Now})
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
