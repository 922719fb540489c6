// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestShutdown: what is in flight when the gateway is told to end is answered, in
// either mode.
func TestShutdown(t *testing.T) {
	for mode, start := range map[string]func(*tenant) *gateway{
		"record": func(x *tenant) *gateway { return x.sidecar() },
		"direct": func(x *tenant) *gateway { return x.direct() },
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t, framework.Unreachable)
			g := start(x)
			answered := make(chan answer, 1)
			go func() {
				a, err := g.try("/query/SendSingleMessage?wait=3", x.hello("in flight"), "X-Request-Id", "the-one")
				if err != nil {
					t.Error(err)
				}
				answered <- a
			}()
			x.Eventually("the request does not arrive", func() bool { return g.metric("teamtalk_gateway_requests_in_flight 1") })
			if err := g.process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			a := <-answered
			if a.Code == nil || *a.Code != 8 && *a.Code != 10 || a.header.Get("X-Request-Id") != "the-one" {
				t.Errorf("answered %+v", a)
			}
			select {
			case <-g.process.Ended():
			case <-time.After(framework.Timeout):
				t.Fatal("the gateway does not end")
			}
			if err := g.process.Err(); err != nil {
				t.Errorf("ended with %v:\n%s", err, g.log.String())
			}
			if log := g.log.String(); !strings.Contains(log, `"requestID":"the-one"`) || !strings.Contains(log, "draining") {
				t.Errorf("logged:\n%s", log)
			}
		})
	}
}

// TestHangUp: a caller that hangs up harms nobody; in direct mode, nothing is sent for
// it any more.
func TestHangUp(t *testing.T) {
	t.Parallel()
	x := newTenant(t, framework.Unreachable)
	for mode, g := range map[string]*gateway{"record": x.sidecar(), "direct": x.direct()} {
		for range 20 {
			conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
			x.Must(err)
			body := x.hello("hello")
			_, err = fmt.Fprintf(conn, "POST /query/SendSingleMessage HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			x.Must(err)
			x.Must(conn.Close())
		}
		x.Eventually(mode+": requests are still in flight", func() bool { return g.metric("teamtalk_gateway_requests_in_flight 0") })
		if a := g.post("/query/SendSingleMessage?wait=0.1", "{"); *a.Code != 1 {
			t.Errorf("%s: afterwards: %+v", mode, a)
		}
	}
}

// TestKeepAlive: old callers send request after request over one connection, with
// whatever Content-Type, and read Content-Length.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	x.Must(err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	for n := range 5 {
		body := x.hello(fmt.Sprintf("number %d", n))
		_, err := fmt.Fprintf(conn, "POST /query/SendSingleMessage HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		x.Must(err)
		r, err := http.ReadResponse(in, nil)
		x.Must(err)
		b, err := io.ReadAll(r.Body)
		x.Must(err)
		_ = r.Body.Close()
		if r.ContentLength != int64(len(b)) || !strings.HasPrefix(string(b), `{"error_code":0,"error_msg":"成功","msg_id":`) {
			t.Errorf("answered %q, Content-Length %d", b, r.ContentLength)
		}
	}
	if n := len(x.Rows()); n != 5 {
		t.Errorf("%d messages are stored", n)
	}
}

// TestTooLarge: a body beyond the bound is answered, in the interface's own form.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	a, err := g.try("/query/SendSingleMessage", x.hello(strings.Repeat("x", 1<<20)))
	if err != nil || *a.Code != 1 || a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %+v, %v", a, err)
	}
}

// TestTooMany: beyond the bound of requests in flight, callers are told to retry.
func TestTooMany(t *testing.T) {
	t.Parallel()
	x := newTenant(t, framework.Unreachable)
	g := x.sidecar("--max-in-flight", "2")
	done := make(chan struct{}, 2)
	for range 2 {
		go func() {
			_, _ = g.try("/query/SendSingleMessage?wait=8", x.hello("waits"))
			done <- struct{}{}
		}()
	}
	x.Eventually("the requests do not arrive", func() bool { return g.metric("teamtalk_gateway_requests_in_flight 2") })
	a := g.post("/query/SendSingleMessage", x.hello("one more"))
	if *a.Code != 10 || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %+v", a)
	}
	for range 2 {
		<-done
	}
	if !g.metric(`teamtalk_gateway_requests_total{error_code="",operation="SendSingleMessage",status="503"} 1`) {
		t.Error("the refusal is not counted")
	}
}

// TestWithoutCluster: a gateway that cannot ask Kubernetes says so and lets nobody in.
func TestWithoutCluster(t *testing.T) {
	t.Parallel()
	var log framework.Log
	p, err := framework.StartWith([]string{"KUBECONFIG=/nonexistent", "HOME=/nonexistent"}, world.Binary, &log, "gateway", "--health-probe-bind-address", "0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	<-p.Ended()
	if p.Err() == nil || !strings.Contains(log.String(), "--kubeconfig") {
		t.Errorf("ended with %v and said: %s", p.Err(), log.String())
	}
}

// metric reports whether the gateway's metrics hold a line.
func (g *gateway) metric(line string) bool {
	g.t.Helper()
	r, err := http.Get(g.metrics)
	if err != nil {
		return false
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return err == nil && strings.Contains(string(b), line+"\n")
}
