// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/lru"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/access"
)

// fakeAPI knows tokens by their prefix: "good" may read, "known" may not, others are invalid.
type fakeAPI struct {
	asked int // about tokens
	away  bool
}

func (f *fakeAPI) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	f.asked++
	if f.away {
		return nil, false, apierrors.NewServiceUnavailable("away")
	}
	known := strings.HasPrefix(token, "good") || strings.HasPrefix(token, "known")
	return &authenticator.Response{User: &user.DefaultInfo{Name: token}}, known, nil
}

func (*fakeAPI) authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if a.GetPath() != "/metrics" || a.GetVerb() != "get" || !strings.HasPrefix(a.GetUser().GetName(), "good") {
		return authorizer.DecisionNoOpinion, "", nil
	}
	return authorizer.DecisionAllow, "", nil
}

// newEndpoint returns a function that gets /metrics from an address with an Authorization header.
func newEndpoint(t *testing.T, api *fakeAPI) (*metricsFilter, func(address, authorization string) *httptest.ResponseRecorder) {
	t.Helper()
	f := &metricsFilter{reviewer: &access.Reviewer{Tokens: api, Rights: authorizer.AuthorizerFunc(api.authorize)}, addresses: lru.New(maxAddresses)}
	handler, err := f.wrap(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("up 1\n"))
	}))
	if err != nil {
		t.Fatal(err)
	}
	return f, func(address, authorization string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		r.RemoteAddr = address
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
}

func TestMetricsFilter(t *testing.T) {
	tests := map[string]struct {
		authorization string
		away          bool
		want          int
	}{
		"permitted":              {"Bearer good", false, 200},
		"lower case":             {"bearer good", false, 200},
		"not permitted":          {"Bearer known", false, 403},
		"invalid token":          {"Bearer tea", false, 401},
		"no token":               {"", false, 401},
		"empty token":            {"Bearer ", false, 401},
		"password":               {"Basic good", false, 401},
		"API server unavailable": {"Bearer good", true, 503},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			_, get := newEndpoint(t, &fakeAPI{away: tc.away})
			w := get("10.0.0.1:4000", tc.authorization)
			if shown := w.Body.String() == "up 1\n"; w.Code != tc.want || shown != (tc.want == 200) {
				t.Errorf("%d, shown: %v; want %d", w.Code, shown, tc.want)
			}
			if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (tc.want == 401) {
				t.Errorf("%d, challenged: %v", w.Code, challenged)
			}
		})
	}
}

// TestTokenFlood: 200 invented tokens per second from one address, over several connections, cause a
// bounded number of token reviews and do not lock out a reader at another address, even one
// whose token was just renewed. The flooding address recovers afterwards.
func TestTokenFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{}
		_, get := newEndpoint(t, api)
		const seconds, perSecond, scrapeEvery = 120, 200, 15
		scrapes := 0
		for s := range seconds {
			for i := range perSecond {
				time.Sleep(time.Second / perSecond)
				w := get(fmt.Sprintf("10.0.0.1:%d", 4000+i), fmt.Sprintf("Bearer bad-%d-%d", s, i))
				if w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
					t.Fatal("no Retry-After")
				}
			}
			if s%scrapeEvery == 0 {
				scrapes++
				if w := get("10.0.0.2:4000", fmt.Sprintf("Bearer good-%d", s)); w.Code != 200 {
					t.Errorf("after %d s a renewed token gets %d", s, w.Code)
				}
			}
		}
		if got, most := api.asked-scrapes, addressBurst+seconds*addressRate; got > most {
			t.Errorf("%d invented tokens were reviewed, want at most %d", got, most)
		}
		if w := get("10.0.0.1:4000", "Bearer good"); w.Code != http.StatusTooManyRequests {
			t.Errorf("the flooding address gets %d", w.Code)
		}
		time.Sleep(time.Second)
		if w := get("10.0.0.1:4000", "Bearer good"); w.Code != 200 {
			t.Errorf("a second after the flood its address gets %d", w.Code)
		}
	})
}

// TestAddressesAreBounded: memory does not grow with the number of addresses.
func TestAddressesAreBounded(t *testing.T) {
	f, get := newEndpoint(t, &fakeAPI{})
	for i := range 3 * maxAddresses {
		get(fmt.Sprintf("[2001:db8::%x]:4000", i), "Bearer good")
	}
	if n := f.addresses.Len(); n != maxAddresses {
		t.Errorf("%d addresses are remembered, want %d", n, maxAddresses)
	}
}
