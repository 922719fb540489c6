// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

const status = "/apis/teamtalk.io/v1alpha1/namespaces/n/teamtalkmessages/m/status"

// fixture is a server that counts its requests, behind a proxy.
type fixture struct {
	t     *testing.T
	done  atomic.Int64
	proxy *Proxy
	http  *http.Client
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s := &fixture{t: t}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer mine" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		s.done.Add(1)
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	cfg := &rest.Config{Host: server.URL, BearerToken: "mine", TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	var err error
	if s.proxy, err = Start(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.Stop)
	if s.http, err = rest.HTTPClientFor(s.proxy.Config()); err != nil {
		t.Fatal(err)
	}
	return s
}

// patch writes a status. The code is -1 if there was no answer.
func (s *fixture) patch() (code int, body string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPatch, s.proxy.Config().Host+status, strings.NewReader("text"))
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.http.Do(r)
	if err != nil {
		return -1, ""
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return -1, ""
	}
	return answer.StatusCode, string(b)
}

// TestRules sends a request with each fault, and others before and after it.
func TestRules(t *testing.T) {
	tests := map[string]struct {
		do   Action
		code int
		done int64
	}{
		"fails":      {Refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError), 500, 0},
		"conflicts":  {Refuse(http.StatusConflict, metav1.StatusReasonConflict), 409, 0},
		"cut before": {CutBefore, -1, 0},
		"cut after":  {CutAfter, -1, 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := newFixture(t)
			rule := s.proxy.Add(Rule{Match: StatusWrite, Skip: 1, Count: 1, Do: tc.do})
			if code, body := s.patch(); code != http.StatusOK || body != "text" {
				t.Fatalf("before the fault: %d %q", code, body)
			}
			s.done.Store(0)
			if code, _ := s.patch(); code != tc.code || s.done.Load() != tc.done {
				t.Errorf("code %d, done %d times; want %d and %d", code, s.done.Load(), tc.code, tc.done)
			}
			if code, _ := s.patch(); code != http.StatusOK || rule.Fired() != 1 {
				t.Errorf("after the fault: %d, fired %d times", code, rule.Fired())
			}
		})
	}
}

func TestHang(t *testing.T) {
	s := newFixture(t)
	rule := s.proxy.Add(Rule{Match: StatusWrite, Do: Hang})
	answered := make(chan int, 1)
	go func() {
		code, _ := s.patch()
		answered <- code
	}()
	if err := rule.Await(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	rule.Remove()
	if len(answered) > 0 || s.done.Load() != 0 {
		t.Error("the request did not hang")
	}
	s.proxy.SetGone(true)
	if code := <-answered; code != -1 {
		t.Errorf("answered with %d", code)
	}
	if code, _ := s.patch(); code != -1 || s.proxy.Refused() == 0 {
		t.Errorf("answered with %d while it is gone", code)
	}
	s.proxy.SetGone(false)
	if code, _ := s.patch(); code != http.StatusOK {
		t.Errorf("answered with %d when it is back", code)
	}
}

func TestStatusWrite(t *testing.T) {
	spec := strings.TrimSuffix(status, "/status")
	for name, tc := range map[string]struct {
		method, path string
		want         bool
	}{
		"a status": {http.MethodPatch, status, true},
		"a read":   {http.MethodGet, status, false},
		"a spec":   {http.MethodPatch, spec, false},
		"a server": {http.MethodPatch, strings.Replace(status, "messages", "servers", 1), false},
	} {
		if got := StatusWrite(httptest.NewRequest(tc.method, tc.path, nil)); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
