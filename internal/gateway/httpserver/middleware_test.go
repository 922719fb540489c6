// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// TestLimitInFlight: what is over the limit is rejected at once, in the operation's own form. Health checks are
// answered.
func TestLimitInFlight(t *testing.T) {
	b := newBlocker("bounded")
	b.WriteError = func(w http.ResponseWriter, _ *http.Request, status int, detail string) {
		writeText(w, status, "rejected: "+detail)
	}
	s := serve(t, Options{MaxInFlight: 8, MaxPerCaller: 8}, b.Route)
	rejected := func() float64 { return testutil.ToFloat64(requests.WithLabelValues("bounded", "503", "")) }
	before := rejected()
	statuses := b.start(s, 8, "/bounded")
	r, body := s.get("/bounded")
	if r.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(body, "rejected: too many") || r.Header.Get("Retry-After") == "" {
		t.Errorf("over the limit: %d %q %v", r.StatusCode, body, r.Header)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if r, _ := s.get(path); r.StatusCode != http.StatusOK {
			t.Errorf("%s meanwhile: %d", path, r.StatusCode)
		}
	}
	close(b.release)
	wantOK(t, statuses)
	if r, _ := s.get("/bounded"); r.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", r.StatusCode)
	}
	if n := rejected() - before; n != 1 {
		t.Errorf("%v rejections counted", n)
	}
}

// TestLimitPerCaller: a caller over its limit gets an error, and others are served. Until the caller is known, the
// request counts for its address.
func TestLimitPerCaller(t *testing.T) {
	for name, tc := range map[string]struct {
		opts Options
		// within are the callers of the requests within the limit.
		within map[string]int
		over   string
		// status is the route's, wantStatus the one of the request over the limit.
		status, wantStatus int
		wantBody           string
	}{
		"of one caller": {
			opts:   Options{MaxInFlight: 8}, // of which 2 are one caller's
			within: map[string]int{"greedy": 2, "modest": 2, "third": 1}, over: "greedy",
			wantStatus: http.StatusTeapot, wantBody: "greedy",
		},
		"of one address": {
			opts: Options{MaxInFlight: 8, MaxPerCaller: 3}, within: map[string]int{"": 3},
			wantStatus: http.StatusTooManyRequests, wantBody: "from your address",
		},
		"of one address, with another status": {
			opts: Options{MaxInFlight: 8, MaxPerCaller: 3}, within: map[string]int{"": 3}, status: http.StatusServiceUnavailable,
			wantStatus: http.StatusServiceUnavailable, wantBody: "from your address",
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlocker("limited")
			b.CallerLimitStatus = tc.status
			s := serve(t, tc.opts, b.Route)
			var started []<-chan int
			for who, n := range tc.within {
				started = append(started, b.start(s, n, "/limited?who="+who))
			}
			r, body := s.get("/limited?who=" + tc.over)
			if r.StatusCode != tc.wantStatus || !strings.Contains(body, tc.wantBody) {
				t.Errorf("over the limit: %d %q, want %d", r.StatusCode, body, tc.wantStatus)
			}
			if later := r.Header.Get("Retry-After") != ""; later != (tc.over == "") {
				t.Errorf("Retry-After %q", r.Header.Get("Retry-After"))
			}
			close(b.release)
			for _, statuses := range started {
				wantOK(t, statuses)
			}
			if r, _ := s.get("/limited?who=" + tc.over); r.StatusCode != http.StatusOK {
				t.Errorf("afterwards: %d", r.StatusCode)
			}
			s.callers.mu.Lock()
			defer s.callers.mu.Unlock()
			if len(s.callers.inFlight) != 0 {
				t.Errorf("still counted: %v", s.callers.inFlight)
			}
		})
	}
	for range 1000 {
		if !Identify(t.Context(), "somebody") {
			t.Fatal("a request outside of a Server is limited")
		}
	}
}

// TestSizeLimits: bodies and headers are limited.
func TestSizeLimits(t *testing.T) {
	s := serve(t, Options{}, Route{Pattern: "POST /body", Name: "body", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			writeText(w, http.StatusRequestEntityTooLarge, "too large")
		}
	})})
	for _, tc := range []struct{ body, header, want int }{
		{MaxBody, 0, http.StatusOK},
		{MaxBody + 1, 0, http.StatusRequestEntityTooLarge},
		{0, 12 << 10, http.StatusOK},
		{0, 18 << 10, http.StatusRequestHeaderFieldsTooLarge},
	} {
		r := s.request(http.MethodPost, "/body", bytes.NewReader(make([]byte, tc.body)))
		r.Close = true // net/http allows 4 KiB more on a connection that is used again
		r.Header.Set("X-Filler", strings.Repeat("x", tc.header))
		if got, _ := s.do(r); got.StatusCode != tc.want {
			t.Errorf("a body of %d bytes, a header of %d: %d, want %d", tc.body, tc.header, got.StatusCode, tc.want)
		}
	}
}

// TestPanic: a request is answered even if its handler panics. The log has the place, but not the value.
func TestPanic(t *testing.T) {
	s := serve(t, Options{}, Route{Pattern: "GET /panic", Name: "panic", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("a secret text")
	})})
	if r, _ := s.get("/panic"); r.StatusCode != http.StatusInternalServerError {
		t.Errorf("answered %d", r.StatusCode)
	}
	if log := s.log.String(); !strings.Contains(log, "TestPanic") || strings.Contains(log, "secret") {
		t.Errorf("logged: %s", log)
	}
}

// TestURLsAreNotLogged: callers may have a token in the URL. It is in no log, that of net/http included, and in no metric.
func TestURLsAreNotLogged(t *testing.T) {
	const token = "swordfish-4711"
	s := serve(t, Options{}, Route{Pattern: "POST /r/{name}/{token}", Name: "r", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusOK) // net/http logs it
		if r.URL.Query().Has("panic") {
			panic(r.URL.String())
		}
		if r.URL.Query().Has("abort") {
			panic(http.ErrAbortHandler)
		}
	})})
	for target, want := range map[string]int{
		"/r/a/" + token: 202, "/r/a/b?key=" + token: 202, "/r/a/" + token + "?panic=" + token: 202, "/r/a/" + token + "?abort=1": 202,
		"/r/a/b?key=" + token + ";x": 202, "/r/a/" + token + "/more": 404, "/r//" + token: 404, "/" + token: 404,
	} {
		r := s.request(http.MethodPost, target, strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Referer", "http://proxy/"+token)
		if got, body := s.do(r); got.StatusCode != want || strings.Contains(body, token) {
			t.Errorf("%s: %d %s", target, got.StatusCode, body)
		}
	}
	// What is no request of HTTP is logged by net/http alone.
	for _, request := range []string{
		"POST /r/a/" + token + " HTTP/9.9\r\n\r\n", "POST /r/a/%zz" + token + " HTTP/1.1\r\nHost: x\r\n\r\n", token + "\r\n\r\n",
		"POST /r/a/" + token + " HTTP/1.1\r\nHost: x\r\nX" + token + "\r\n\r\n",
	} {
		if answer := s.raw(request); !strings.HasPrefix(answer, "HTTP/1.1 ") || strings.Contains(answer, token) {
			t.Errorf("%q is answered with %q", request, answer)
		}
	}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for what, shown := range map[string]string{"log": s.log.String(), "metrics": fmt.Sprint(families)} {
		if shown == "" || strings.Contains(shown, token) {
			t.Errorf("the %s: %s", what, shown)
		}
	}
	if log := s.log.String(); !strings.Contains(log, "superfluous") || !strings.Contains(log, "has panicked") {
		t.Errorf("net/http and the recovery of panics have logged nothing: %s", log)
	}
}

// raw sends bytes on a connection of their own, and returns what comes back.
func (s *testServer) raw(request string) string {
	s.t.Helper()
	c, err := (&net.Dialer{Timeout: timeout}).DialContext(s.t.Context(), "tcp", s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.Write([]byte(request)); err != nil {
		s.t.Fatal(err)
	}
	answer, _ := io.ReadAll(c) // the server closes it
	return string(answer)
}

// TestRequestID: every answer has an id, which is in the log. A caller's own is used if it is harmless there.
func TestRequestID(t *testing.T) {
	s := serve(t, Options{}, Route{Pattern: "GET /logged", Name: "logged", Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		SetErrorCode(r.Context(), 4)
		AddLogValue(r.Context(), "caller", "somebody")
	})})
	for sent, kept := range map[string]bool{
		"": false, "abc-1.2_Z": true, "a b": false, "é": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false,
	} {
		r := s.request(http.MethodGet, "/logged", nil)
		if sent != "" {
			r.Header.Set(RequestID, sent)
		}
		response, _ := s.do(r)
		if got := response.Header.Get(RequestID); got == "" || (got == sent) != kept {
			t.Errorf("%q was answered with %q", sent, got)
		}
	}
	s.stop()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`"requestID"="abc-1.2_Z"`, `"errorCode"="4"`, `"caller"="somebody"`, `"status"=200`} {
		if log := s.log.String(); !strings.Contains(log, want) {
			t.Errorf("logged: %s, want %s", log, want)
		}
	}
}

// TestLoopback: see Options.Loopback.
func TestLoopback(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:1": true, "127.9.9.9:1": true, "[::1]:1": true, ":1": false, "0.0.0.0:1": false, "[::]:1": false,
		"localhost:1": false, "example.com:1": false, "10.0.0.1:1": false, "": false,
	} {
		if got := (&Options{Address: address}).Loopback(); got != want {
			t.Errorf("%q is on loopback: %v", address, got)
		}
	}
}
