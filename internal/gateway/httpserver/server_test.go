package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apiwait "k8s.io/apimachinery/pkg/util/wait"
)

// patience bounds every wait.
const patience = 30 * time.Second

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) add(prefix, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.b, prefix, args)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// served is a server under test.
type served struct {
	*Server
	t    *testing.T
	url  string
	log  *lines
	stop context.CancelFunc
	done chan error
}

func serve(t *testing.T, opts Options, routes ...Route) *served {
	t.Helper()
	opts.Address = "127.0.0.1:0"
	if opts.MaxInFlight == 0 {
		opts.MaxInFlight = 8
	}
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = patience
	}
	s := &served{t: t, log: &lines{}, done: make(chan error, 1)}
	s.Server = New(opts, funcr.New(s.log.add, funcr.Options{}))
	for _, r := range routes {
		s.Handle(r)
	}
	address, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	s.url = "http://" + address.String()
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() { s.done <- s.Start(ctx) }()
	t.Cleanup(s.stop)
	return s
}

func (s *served) get(path string) (int, string, http.Header) {
	s.t.Helper()
	r, err := http.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(b), r.Header
}

func (s *served) ended() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(patience):
		s.t.Fatal("the server does not end")
		return nil
	}
}

// held is a route whose requests wait until they are let go.
func held(name string) (Route, chan struct{}, chan struct{}) {
	entered, leave := make(chan struct{}, 64), make(chan struct{})
	return Route{Pattern: "GET /" + name, Name: name, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-leave
		_, _ = io.WriteString(w, "done")
	})}, entered, leave
}

func wait(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("nothing comes")
	}
}

// TestInFlight: what is too much is refused at once, in the endpoint's own form, and
// health is served all the same.
func TestInFlight(t *testing.T) {
	r, entered, leave := held("bounded")
	r.Refuse = func(w http.ResponseWriter, status int, detail string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "refused: "+detail)
	}
	s := serve(t, Options{MaxInFlight: 2, MaxPerCaller: 2}, r)
	refused := func() float64 { return testutil.ToFloat64(requests.WithLabelValues("bounded", "503", "")) }
	before := refused() // the process counts on, however often this runs
	answers := make(chan int, 2)
	for range 2 {
		go func() {
			status, _, _ := s.get("/bounded")
			answers <- status
		}()
		wait(t, entered)
	}
	status, body, header := s.get("/bounded")
	if status != http.StatusServiceUnavailable || !strings.HasPrefix(body, "refused: too many") || header.Get("Retry-After") == "" {
		t.Errorf("beyond the bound: %d %q %v", status, body, header)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, _ := s.get(path); status != http.StatusOK {
			t.Errorf("%s meanwhile: %d", path, status)
		}
	}
	close(leave)
	for range 2 {
		if status := <-answers; status != http.StatusOK {
			t.Errorf("within the bound: %d", status)
		}
	}
	if status, _, _ := s.get("/bounded"); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
	if n := refused() - before; n != 1 {
		t.Errorf("%v refusals counted", n)
	}
}

// TestDrain: a shutdown answers what is in flight, and takes nothing new.
func TestDrain(t *testing.T) {
	r, entered, leave := held("drained")
	s := serve(t, Options{}, r)
	answer := make(chan int, 1)
	go func() {
		status, _, _ := s.get("/drained")
		answer <- status
	}()
	wait(t, entered)
	s.stop()
	eventually := func(what string, is func(context.Context) (bool, error)) {
		t.Helper()
		if err := apiwait.PollUntilContextTimeout(t.Context(), time.Millisecond, patience, true, is); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	eventually("it is not ready any more", func(ctx context.Context) (bool, error) { return s.Ready(ctx) != nil, nil })
	eventually("it takes no more connections", func(context.Context) (bool, error) {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			return true, nil //nolint:nilerr // that is what is waited for
		}
		return false, c.Close()
	})
	close(leave)
	if err := s.ended(); err != nil {
		t.Error(err)
	}
	if status := <-answer; status != http.StatusOK {
		t.Errorf("in flight: %d", status)
	}
}

// TestDrainTimeout: a shutdown does not wait for ever.
func TestDrainTimeout(t *testing.T) {
	r, entered, leave := held("stuck")
	defer close(leave)
	s := serve(t, Options{DrainTimeout: 10 * time.Millisecond}, r)
	go func() {
		if r, err := http.Get(s.url + "/stuck"); err == nil {
			_ = r.Body.Close()
		}
	}()
	wait(t, entered)
	s.stop()
	if err := s.ended(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "--drain-timeout") {
		t.Errorf("ended with %v", err)
	}
}

// TestBounds: bodies and headers have an end.
func TestBounds(t *testing.T) {
	s := serve(t, Options{}, Route{Pattern: "POST /body", Name: "body", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			plain(w, http.StatusRequestEntityTooLarge, "too large")
			return
		}
		plain(w, http.StatusOK, "ok")
	})})
	for size, want := range map[int]int{MaxBody: http.StatusOK, MaxBody + 1: http.StatusRequestEntityTooLarge} {
		r, err := http.Post(s.url+"/body", "", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		if r.StatusCode != want {
			t.Errorf("a body of %d bytes: %d, want %d", size, r.StatusCode, want)
		}
	}
	for size, want := range map[int]int{60 << 10: http.StatusOK, 66 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		r, err := http.NewRequest(http.MethodGet, s.url+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Filler", strings.Repeat("x", size))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%d bytes of headers: %d, want %d", size, response.StatusCode, want)
		}
	}
}

// TestPanic: whatever a handler does, there is an answer, and the log says no more
// than where.
func TestPanic(t *testing.T) {
	s := serve(t, Options{}, Route{Pattern: "GET /panic", Name: "panic", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic("a text that is nobody's business")
	})})
	if status, _, _ := s.get("/panic"); status != http.StatusInternalServerError {
		t.Errorf("answered %d", status)
	}
	if log := s.log.String(); !strings.Contains(log, "TestPanic") || strings.Contains(log, "nobody's business") {
		t.Errorf("logged: %s", log)
	}
}

// TestRequestID: every answer bears one, and the log finds it; a caller's own is
// taken if it cannot do harm there.
func TestRequestID(t *testing.T) {
	s := serve(t, Options{}, Route{Pattern: "GET /noted", Name: "noted", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		NoteOf(r.Context()).Code(4)
		NoteOf(r.Context()).Add("caller", "somebody")
		plain(w, http.StatusOK, "ok")
	})})
	for sent, kept := range map[string]bool{
		"": false, "abc-1.2_Z": true, "a b": false, "é": false, strings.Repeat("x", 64): true, strings.Repeat("x", 65): false,
	} {
		r, err := http.NewRequest(http.MethodGet, s.url+"/noted", nil)
		if err != nil {
			t.Fatal(err)
		}
		if sent != "" {
			r.Header.Set(RequestID, sent)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		got := response.Header.Get(RequestID)
		if got == "" || (got == sent) != kept {
			t.Errorf("%q was answered with %q", sent, got)
		}
	}
	s.stop()
	if err := s.ended(); err != nil {
		t.Error(err)
	}
	if log := s.log.String(); !strings.Contains(log, `"requestID"="abc-1.2_Z"`) || !strings.Contains(log, `"errorCode"="4"`) || !strings.Contains(log, `"caller"="somebody"`) {
		t.Errorf("logged: %s", log)
	}
}

// TestSlowHeaders: a connection that never says what it wants is closed.
func TestSlowHeaders(t *testing.T) {
	s := serve(t, Options{})
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("it is not closed: %v", err)
	}
}

// TestKeepAlive: several requests go over one connection, an HTTP/1.0 one as well.
func TestKeepAlive(t *testing.T) {
	s := serve(t, Options{})
	c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for _, request := range []string{
		"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
		"GET /healthz HTTP/1.0\r\n\r\n",
	} {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Errorf("%q: %d", request, r.StatusCode)
		}
	}
}
