package direct

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// TestOnce: what is the same is sent once at a time, and again only if it failed.
func TestOnce(t *testing.T) {
	delivered, failed := api.Result{State: api.Delivered}, api.Result{State: api.Failed}
	keyed := api.Request{Key: "k", Recipients: []uint32{2, 3}}
	tests := map[string]struct {
		requests []api.Request
		results  []api.Result
		want     int
	}{
		"the same":             {[]api.Request{keyed, keyed, {Key: "k", Recipients: []uint32{3, 2}}}, []api.Result{delivered}, 1},
		"without a key":        {[]api.Request{{}, {}}, []api.Result{delivered, delivered}, 2},
		"another text":         {[]api.Request{keyed, {Key: "k", Recipients: []uint32{2, 3}, Text: "x"}}, []api.Result{delivered, delivered}, 2},
		"another namespace":    {[]api.Request{keyed, {Key: "k", Recipients: []uint32{2, 3}, Namespace: "x"}}, []api.Result{delivered, delivered}, 2},
		"the first has failed": {[]api.Request{keyed, keyed, keyed}, []api.Result{failed, delivered}, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &Sender{}
				var sent atomic.Int32
				var wg sync.WaitGroup
				var ok atomic.Int32
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
				want := len(tc.requests)
				if tc.results[0].State != api.Delivered {
					want--
				}
				if int(sent.Load()) != tc.want || int(ok.Load()) != want {
					t.Errorf("sent %d times, want %d; delivered %d, want %d", sent.Load(), tc.want, ok.Load(), want)
				}
			})
		})
	}
}

// TestOnceTimeout: who waits for another's end waits no longer than its own time,
// and is told no success.
func TestOnceTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Sender{}
		r := api.Request{Key: "k", Recipients: []uint32{2}}
		go func() {
			_, _ = s.once(t.Context(), r, func() (api.Result, error) {
				time.Sleep(time.Minute)
				return api.Result{State: api.Delivered}, nil
			})
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := s.once(ctx, r, func() (api.Result, error) {
			t.Error("sent beside the one under way")
			return api.Result{}, nil
		})
		if err != nil || got.State != api.Unknown {
			t.Errorf("got %+v, %v", got, err)
		}
		time.Sleep(time.Minute)
	})
}
