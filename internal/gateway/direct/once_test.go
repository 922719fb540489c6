// SPDX-License-Identifier: Apache-2.0

package direct

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// TestOnce: equal requests are sent one at a time, and again only if the one before failed.
func TestOnce(t *testing.T) {
	delivered, failed := api.Result{State: api.Delivered}, api.Result{State: api.Failed}
	keyed := api.Request{Key: "k", Recipients: []uint32{2, 3}}
	reordered, otherText, otherNamespace, otherCaller := keyed, keyed, keyed, keyed
	otherCaller.Caller = "x"
	reordered.Recipients = []uint32{3, 2}
	otherText.Text, otherNamespace.Namespace = "x", "x"
	tests := map[string]struct {
		requests []api.Request
		// results are those of the sends, in order.
		results                 []api.Result
		wantSent, wantDelivered int32
	}{
		"equal":             {[]api.Request{keyed, otherCaller, reordered}, []api.Result{delivered}, 1, 3},
		"without a key":     {[]api.Request{{}, {}}, []api.Result{delivered, delivered}, 2, 2},
		"another text":      {[]api.Request{keyed, otherText}, []api.Result{delivered, delivered}, 2, 2},
		"another namespace": {[]api.Request{keyed, otherNamespace}, []api.Result{delivered, delivered}, 2, 2},
		"the first failed":  {[]api.Request{keyed, keyed, keyed}, []api.Result{failed, delivered}, 2, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Sender{}
				var sent, ok atomic.Int32
				var wg sync.WaitGroup
				for _, r := range tc.requests {
					wg.Go(func() {
						got, err := s.once(t.Context(), r, func() (api.Result, error) {
							n := sent.Add(1)
							time.Sleep(time.Second)
							return tc.results[n-1], nil
						})
						if err == nil && got.State == api.Delivered {
							ok.Add(1)
						}
					})
				}
				wg.Wait()
				if sent.Load() != tc.wantSent || ok.Load() != tc.wantDelivered {
					t.Errorf("sent %d times, want %d; delivered %d, want %d", sent.Load(), tc.wantSent, ok.Load(), tc.wantDelivered)
				}
			})
		})
	}
}

// TestOnceTimeout: a request waits for an equal one until its own time is over, and is not answered with success.
func TestOnceTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Sender{}
		r := api.Request{Key: "k", Recipients: []uint32{2}}
		send := func() (api.Result, error) {
			time.Sleep(time.Minute)
			return api.Result{State: api.Delivered}, nil
		}
		go func() { _, _ = s.once(t.Context(), r, send) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := s.once(ctx, r, func() (api.Result, error) {
			t.Error("sent while the other one is in flight")
			return api.Result{}, nil
		})
		if err != nil || got.State != api.Unknown {
			t.Errorf("got %+v, %v", got, err)
		}
		time.Sleep(time.Minute)
	})
}

// TestAfterRestart: what an earlier process has sent under a key may still be executed for a while. Without a key,
// nothing can be found of it.
func TestAfterRestart(t *testing.T) {
	s := &Sender{started: time.Unix(1_700_000_000, 0)}
	server := &v1alpha1.TeamTalkServer{}
	server.Spec.MaxReplicaLagSeconds = new(int32)
	for key, want := range map[string]time.Time{"": {}, "k": s.started.Add(delivery.PeerPatience)} {
		if got := s.newTask(server, nil, api.Request{Key: key, Recipients: []uint32{2}}).EarlierUntil; !got.Equal(want) {
			t.Errorf("key %q: %v, want %v", key, got, want)
		}
	}
}
