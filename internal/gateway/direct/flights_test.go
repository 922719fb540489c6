package direct

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/post"
)

// TestFlights: what is the same is sent once at a time, and again only if it failed.
func TestFlights(t *testing.T) {
	delivered, failed := post.Result{State: post.Delivered}, post.Result{State: post.Failed}
	keyed := post.Request{Key: "k", Recipients: []int64{2, 3}}
	tests := map[string]struct {
		requests []post.Request
		results  []post.Result
		want     int
	}{
		"the same":             {[]post.Request{keyed, keyed, {Key: "k", Recipients: []int64{3, 2}}}, []post.Result{delivered}, 1},
		"without a key":        {[]post.Request{{}, {}}, []post.Result{delivered, delivered}, 2},
		"another text":         {[]post.Request{keyed, {Key: "k", Recipients: []int64{2, 3}, Text: "x"}}, []post.Result{delivered, delivered}, 2},
		"another namespace":    {[]post.Request{keyed, {Key: "k", Recipients: []int64{2, 3}, Namespace: "x"}}, []post.Result{delivered, delivered}, 2},
		"the first has failed": {[]post.Request{keyed, keyed, keyed}, []post.Result{failed, delivered}, 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var f flights
				var sent atomic.Int32
				var wg sync.WaitGroup
				var ok atomic.Int32
				for _, r := range tc.requests {
					wg.Go(func() {
						got, err := f.do(t.Context(), r, func() (post.Result, error) {
							n := sent.Add(1)
							time.Sleep(time.Second)
							return tc.results[n-1], nil
						})
						if err == nil && got.State == post.Delivered {
							ok.Add(1)
						}
					})
				}
				wg.Wait()
				want := len(tc.requests)
				if tc.results[0].State != post.Delivered {
					want--
				}
				if int(sent.Load()) != tc.want || int(ok.Load()) != want || len(f.flying) != 0 {
					t.Errorf("sent %d times, want %d; delivered %d, want %d; %d left", sent.Load(), tc.want, ok.Load(), want, len(f.flying))
				}
			})
		})
	}
}

// TestFlightsPatience: who waits for another's end waits no longer than its own time,
// and is told no success.
func TestFlightsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f flights
		r := post.Request{Key: "k", Recipients: []int64{2}}
		go func() {
			_, _ = f.do(t.Context(), r, func() (post.Result, error) {
				time.Sleep(time.Minute)
				return post.Result{State: post.Delivered}, nil
			})
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := f.do(ctx, r, func() (post.Result, error) {
			t.Error("sent beside the one under way")
			return post.Result{}, nil
		})
		if err != nil || got.State != post.Unknown {
			t.Errorf("got %+v, %v", got, err)
		}
		time.Sleep(time.Minute)
	})
}
