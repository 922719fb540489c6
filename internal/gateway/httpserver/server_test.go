// SPDX-License-Identifier: Apache-2.0

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
	"k8s.io/apimachinery/pkg/util/wait"
)

// timeout limits every wait.
const timeout = 30 * time.Second

// logBuffer holds the log of a server.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) add(prefix, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(&l.b, prefix, args)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testServer is a running server.
type testServer struct {
	*Server
	t       *testing.T
	address string
	log     *logBuffer
	stop    context.CancelFunc
	done    chan error
}

func serve(t *testing.T, opts Options, routes ...Route) *testServer {
	t.Helper()
	opts.Address = "127.0.0.1:0"
	opts.MaxInFlight = max(opts.MaxInFlight, 8)
	if opts.DrainTimeout == 0 {
		opts.DrainTimeout = timeout
	}
	s := &testServer{t: t, log: &logBuffer{}, done: make(chan error, 1)}
	s.Server = New(opts, funcr.New(s.log.add, funcr.Options{}))
	for _, r := range routes {
		s.Handle(r)
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	s.address = s.listener.Addr().String()
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() { s.done <- s.Start(ctx) }()
	t.Cleanup(s.stop)
	return s
}

// do sends a request and returns the response with its body.
func (s *testServer) do(r *http.Request) (*http.Response, string) {
	s.t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Error(err)
		return &http.Response{}, ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body) // the server may close a connection before it has read all headers
	return response, string(body)
}

func (s *testServer) get(path string) (*http.Response, string) {
	s.t.Helper()
	return s.do(s.request(http.MethodGet, path, nil))
}

func (s *testServer) request(method, path string, body io.Reader) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.address+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// end waits for Start to return.
func (s *testServer) end() error {
	s.t.Helper()
	select {
	case err := <-s.done:
		return err
	case <-time.After(timeout):
		s.t.Fatal("the server does not end")
		return nil
	}
}

// blocker is a route whose requests block until release is closed. With ?who= they identify their caller.
type blocker struct {
	Route
	entered, release chan struct{}
}

func newBlocker(name string) *blocker {
	b := &blocker{entered: make(chan struct{}, 64), release: make(chan struct{})}
	b.Route = Route{Pattern: "GET /" + name, Name: name, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who := r.URL.Query().Get("who"); who != "" && !Identify(r.Context(), who) {
			writeText(w, http.StatusTeapot, "over the limit: "+who)
			return
		}
		b.entered <- struct{}{}
		<-b.release
	})}
	return b
}

// start sends n requests that block, and returns their statuses in the end.
func (b *blocker) start(s *testServer, n int, path string) <-chan int {
	s.t.Helper()
	statuses := make(chan int, n)
	for range n {
		go func() {
			response, _ := s.get(path)
			statuses <- response.StatusCode
		}()
		select {
		case <-b.entered:
		case <-time.After(timeout):
			s.t.Fatal("the handler is not called")
		}
	}
	return statuses
}

func wantOK(t *testing.T, statuses <-chan int) {
	t.Helper()
	for range cap(statuses) {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("within the limit: %d", status)
		}
	}
}

// TestDrain: a shutdown answers what is in flight, and accepts nothing new.
func TestDrain(t *testing.T) {
	b := newBlocker("drained")
	s := serve(t, Options{}, b.Route)
	statuses := b.start(s, 1, "/drained")
	s.stop()
	if err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		c, err := net.Dial("tcp", s.address)
		if err == nil {
			_ = c.Close()
		}
		return err != nil && s.Ready(ctx) != nil, nil
	}); err != nil {
		t.Fatalf("it is still ready, or accepts connections: %v", err)
	}
	close(b.release)
	if err := s.end(); err != nil {
		t.Error(err)
	}
	wantOK(t, statuses)
}

// TestDrainTimeout: a shutdown does not wait for ever.
func TestDrainTimeout(t *testing.T) {
	b := newBlocker("stuck")
	defer close(b.release)
	s := serve(t, Options{DrainTimeout: 10 * time.Millisecond}, b.Route)
	go func() {
		if r, err := http.Get("http://" + s.address + "/stuck"); err == nil {
			_ = r.Body.Close()
		}
	}()
	<-b.entered
	s.stop()
	if err := s.end(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "--drain-timeout") {
		t.Errorf("ended with %v", err)
	}
}

// TestConnections: a connection that sends incomplete headers is closed. Several requests can use one connection,
// including one of HTTP/1.0.
func TestConnections(t *testing.T) {
	for name, requests := range map[string][]string{
		"incomplete headers": {"POST / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "},
		"keep alive": {
			"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
			"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n",
			"GET /healthz HTTP/1.0\r\n\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", serve(t, Options{}).address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(timeout))
			in := bufio.NewReader(c)
			for _, request := range requests {
				_, _ = io.WriteString(c, request)
				if !strings.HasSuffix(request, "\r\n\r\n") {
					break
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
			if _, err := io.Copy(io.Discard, in); err != nil {
				t.Errorf("it is not closed: %v", err)
			}
		})
	}
}
