package direct

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// flights join requests with one key that come while the first of them is under way:
// each would find the first one's message in the store, and announce it once more.
// The zero value is ready to use.
type flights struct {
	mu     sync.Mutex
	flying map[string]*flight
}

type flight struct {
	landed chan struct{}
	result api.Result
	err    error
}

// do sends a request, or returns what became of the same one that is under way. Where
// that one has not been delivered, this one is sent for as long as ctx lasts.
func (f *flights) do(ctx context.Context, r api.Request, send func() (api.Result, error)) (api.Result, error) {
	if r.Key == "" {
		return send()
	}
	same := sameness(r)
	for {
		f.mu.Lock()
		other := f.flying[same]
		if other == nil {
			own := &flight{landed: make(chan struct{})}
			if f.flying == nil {
				f.flying = map[string]*flight{}
			}
			f.flying[same] = own
			f.mu.Unlock()
			defer func() {
				f.mu.Lock()
				delete(f.flying, same)
				f.mu.Unlock()
				close(own.landed)
			}()
			own.result, own.err = send()
			return own.result, own.err
		}
		f.mu.Unlock()
		select {
		case <-other.landed:
		case <-ctx.Done():
			return api.Result{State: api.Unknown, Detail: "another request with its key is still under way"}, nil
		}
		delivered := other.err == nil && other.result.State == api.Delivered
		if delivered || ctx.Err() != nil {
			return other.result, other.err
		}
	}
}

// sameness is equal for requests that are the same.
func sameness(r api.Request) string {
	recipients := slices.Sorted(slices.Values(r.Recipients))
	return fmt.Sprintf("%q %q %d %s %v %q %x", r.Namespace, r.Server, r.Sender, r.Type, recipients, r.Key, sha256.Sum256([]byte(r.Text)))
}
