package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
)

// cluster is asked about tokens: good ones may read, known ones exist, others do not.
type cluster struct {
	access.Reviewer
	asked int
	good  map[string]bool
	known map[string]bool
	away  bool
}

func (c *cluster) Token(_ context.Context, token string) (access.User, *access.Denial) {
	c.asked++
	switch {
	case c.away:
		return nil, &access.Denial{Kind: access.Unavailable, Detail: "away"}
	case !c.good[token] && !c.known[token]:
		return nil, &access.Denial{Kind: access.Unauthenticated, Detail: "bad"}
	}
	return &user.DefaultInfo{Name: token}, nil
}

func (c *cluster) MayGet(_ context.Context, u access.User, path string) *access.Denial {
	if path != "/metrics" || !c.good[u.GetName()] {
		return &access.Denial{Kind: access.Forbidden, Detail: "may not"}
	}
	return nil
}

// endpoint serves /metrics to the readers of a cluster.
type endpoint struct {
	t       *testing.T
	handler http.Handler
}

func newEndpoint(t *testing.T, c *cluster) *endpoint {
	t.Helper()
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	handler, err := newReaders(c).filter(logr.Discard(), ok)
	if err != nil {
		t.Fatal(err)
	}
	return &endpoint{t, handler}
}

// get asks with an Authorization header; none: without.
func (e *endpoint) get(authorization string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(e.t.Context(), http.MethodGet, "/metrics", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w
}

func TestReaders(t *testing.T) {
	c := &cluster{good: map[string]bool{"good": true}, known: map[string]bool{"stranger": true}}
	tests := map[string]struct {
		authorization string
		away          bool
		want          int
	}{
		"permitted":       {"Bearer good", false, 200},
		"in small":        {"bearer good", false, 200},
		"not permitted":   {"Bearer stranger", false, 403},
		"no such token":   {"Bearer tea", false, 401},
		"no token":        {"", false, 401},
		"an empty one":    {"Bearer ", false, 401},
		"a password":      {"Basic good", false, 401},
		"cannot be asked": {"Bearer good", true, 503},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			c.away = tc.away
			w := newEndpoint(t, c).get(tc.authorization)
			if shown := w.Body.String() == "up 1\n"; w.Code != tc.want || shown != (tc.want == 200) {
				t.Errorf("%d, shown: %v; want %d", w.Code, shown, tc.want)
			}
			if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (tc.want == 401) {
				t.Errorf("%d, challenged: %v", w.Code, challenged)
			}
		})
	}
}

// TestStrangersAreBounded: however many tokens are made up, the cluster is asked about a
// few, and who was let in before is let in all the while, until that is denied.
func TestStrangersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{good: map[string]bool{"good": true, "newcomer": true}}
		e := newEndpoint(t, c)
		flood := func(name string) {
			c.asked = 0
			for i := range 1000 {
				if w := e.get(fmt.Sprintf("Bearer %s-%d", name, i)); w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
					t.Fatal("it does not say when to come again")
				}
			}
		}
		want := func(token string, status int) {
			t.Helper()
			if w := e.get("Bearer " + token); w.Code != status {
				t.Errorf("%s gets %d, want %d", token, w.Code, status)
			}
		}
		want("good", 200)
		time.Sleep(time.Minute)
		flood("first")
		if c.asked != strangersAtOnce {
			t.Errorf("the cluster was asked about %d tokens of 1000, want %d", c.asked, strangersAtOnce)
		}
		want("good", 200)
		want("newcomer", 429)
		time.Sleep(time.Second)
		flood("second")
		if c.asked != strangersPerSecond {
			t.Errorf("a second later it was asked about %d tokens, want %d", c.asked, strangersPerSecond)
		}
		time.Sleep(time.Second)
		want("newcomer", 200)

		flood("third")
		c.away = true
		want("good", 503)
		c.away = false
		want("good", 200) // that it could not be asked says nothing of the token
		c.good["good"] = false
		want("good", 401)
		want("good", 429) // a stranger now
		time.Sleep(acquainted)
		flood("fourth")
		want("newcomer", 429) // has not come for long
	})
}

// TestReadersAreForgotten: what is remembered does not grow.
func TestReadersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{good: map[string]bool{}}
		r := newReaders(c)
		for i := range 10 * maxAcquainted {
			r.remember([32]byte{byte(i), byte(i >> 8)})
			time.Sleep(time.Millisecond)
		}
		last := 10*maxAcquainted - 1
		if len(r.letIn) != maxAcquainted || !r.knows([32]byte{byte(last), byte(last >> 8)}) {
			t.Errorf("%d are remembered, want the last %d", len(r.letIn), maxAcquainted)
		}
	})
}
