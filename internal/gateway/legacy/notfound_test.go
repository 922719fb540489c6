// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// TestUnservedPaths are answered in JSON with a code, and with the served paths. No path is redirected: callers do not
// follow redirects with a body.
func TestUnservedPaths(t *testing.T) {
	address := freeAddress(t)
	s := httpserver.New(httpserver.Options{Address: address, MaxInFlight: 8, DrainTimeout: time.Minute}, logr.Discard())
	(&Handlers{}).Mount(s)
	s.Handle(httpserver.Route{Pattern: "/v1/receivers/{namespace}/{name}", Name: "receivers", Handler: http.NotFoundHandler()})
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	requests, err := os.ReadFile(filepath.Join("testdata", "unserved.txt"))
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for line := range strings.Lines(string(requests)) {
		method, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(got.Body)
		got.Body.Close()
		var a response
		if err := json.Unmarshal(body, &a); err != nil || got.StatusCode != http.StatusNotFound || a.Code != CodeBadParameter || a.Text == "" {
			t.Errorf("%s: %d %s, %v", line, got.StatusCode, body, err)
		}
		for _, pattern := range []string{"/query/SendSingleMessage,", "/namespaces/{namespace}/query/CreateGroup,", "/v1/receivers/{namespace}/{name}"} {
			if !strings.Contains(a.Detail+",", pattern) {
				t.Errorf("%s: %s is not in %s", line, pattern, a.Detail)
			}
		}
		if strings.Contains(a.Detail, "default") {
			t.Errorf("%s: a name is told: %s", line, a.Detail)
		}
	}
}

// freeAddress returns an address on loopback that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
