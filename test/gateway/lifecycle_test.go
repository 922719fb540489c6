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

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestShutdown: requests in flight are answered when the gateway shuts down, in either mode.
func TestShutdown(t *testing.T) {
	for mode, start := range map[string]func(*tenant, ...string) *gateway{"record": (*tenant).sidecar, "direct": (*tenant).direct} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t, framework.Unreachable)
			g := start(x)
			answered := g.postAside("/query/SendSingleMessage", x.hello("in flight"), "X-Request-Id", "the-one")
			x.Eventually("the request does not arrive", func() bool { return g.metric("teamtalk_gateway_requests_in_flight 1") })
			x.Must(g.process.Signal(syscall.SIGTERM))
			if a := <-answered; *a.Code != 8 && *a.Code != 10 || a.header.Get("X-Request-Id") != "the-one" {
				t.Errorf("answered %+v", a)
			}
			if err := g.process.AwaitEnd(t); err != nil {
				t.Errorf("ended with %v:\n%s", err, g.log.String())
			}
			if log := g.log.String(); !strings.Contains(log, `"requestID":"the-one"`) || !strings.Contains(log, "draining") {
				t.Errorf("logged:\n%s", log)
			}
		})
	}
}

// TestHangUp: a request that was read is executed once, even if its caller disconnects immediately or soon after.
func TestHangUp(t *testing.T) {
	const requests = 20
	for mode, start := range map[string]func(*tenant, ...string) *gateway{"record": (*tenant).sidecar, "direct": (*tenant).direct} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			g := start(x)
			hangUp := func(path, body string, after time.Duration) {
				conn := g.dial()
				_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
				x.Must(err)
				time.AfterFunc(after, func() { _ = conn.Close() })
			}
			for i := range requests {
				after := time.Duration(i%2) * 5 * time.Millisecond
				hangUp("/query/SendSingleMessage", x.hello(fmt.Sprint("single ", i)), after)
				hangUp("/query/SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"group %d"}`, x.Bot, x.OnCall, i), after)
			}
			x.AwaitRows(2 * requests)
			x.Eventually("requests are still in flight", func() bool { return g.metric("teamtalk_gateway_requests_in_flight 0") })
			texts := map[string]bool{}
			for _, row := range x.CheckRows(2 * requests) {
				texts[row.Text] = true
			}
			if len(texts) != 2*requests {
				t.Errorf("%d texts are stored, want %d", len(texts), 2*requests)
			}
			if mode == "record" {
				return
			}
			group := x.OnCall + 1
			x.Must(x.TeamTalk.PutGroup(devserver.Group{ID: group, Name: "ours", Creator: x.Bot, Members: []uint32{x.Bot}}))
			router := x.RouterPeer()
			hangUp("/query/ChangeMembers", fmt.Sprintf(`{"req_user_id":%d,"group_id":%d,"modify_type":1,"user_id_list":[%d]}`, x.Bot, group, x.Alice), 0)
			x.Eventually("the change is not made and announced", func() bool { return len(router.Changes(int64(group))) == 1 })
		})
	}
}

// TestKeepAlive: old callers reuse a connection, send any Content-Type, and read Content-Length.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	conn := g.dial()
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

// TestTooMany: beyond the bound of requests in flight, callers are asked to retry.
func TestTooMany(t *testing.T) {
	t.Parallel()
	x := newTenant(t, framework.Unreachable)
	g := x.sidecar("--max-in-flight", "2")
	waiting := []<-chan answer{
		g.postAside("/query/SendSingleMessage?wait=8", x.hello("waits")), g.postAside("/query/SendSingleMessage?wait=8", x.hello("waits")),
	}
	x.Eventually("the requests do not arrive", func() bool { return g.metric("teamtalk_gateway_requests_in_flight 2") })
	a := g.post("/query/SendSingleMessage", x.hello("one more"))
	if *a.Code != 10 || a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("answered %+v", a)
	}
	for _, answered := range waiting {
		<-answered
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
	if err := p.AwaitEnd(t); err == nil || !strings.Contains(log.String(), "--kubeconfig") {
		t.Errorf("ended with %v and said: %s", err, log.String())
	}
}

// TestOldHTTP: callers that speak HTTP as old programs do are understood.
func TestOldHTTP(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	const path = "/query/SendSingleMessage"
	chunked := x.hello("in chunks")
	for text, request := range map[string]string{
		"as HTTP/1.0": fmt.Sprintf("POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", path, len(x.hello("as HTTP/1.0")), x.hello("as HTTP/1.0")),
		"kept alive":  fmt.Sprintf("POST %s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", path, len(x.hello("kept alive")), x.hello("kept alive")),
		"in chunks": fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
			path, chunked[:5], len(chunked)-5, chunked[5:]),
		"as a form": fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			path, len(x.hello("as a form")), x.hello("as a form")),
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			c := g.dial()
			x.Must(c.SetDeadline(time.Now().Add(framework.Timeout)))
			_, err := c.Write([]byte(request))
			x.Must(err)
			answered, err := http.ReadResponse(bufio.NewReader(c), nil)
			x.Must(err)
			defer answered.Body.Close()
			if answered.StatusCode != http.StatusOK {
				t.Errorf("status %d", answered.StatusCode)
			}
			n := 0
			for _, row := range x.Rows() {
				if row.Text == text {
					n++
				}
			}
			if n != 1 {
				t.Errorf("the store holds it %d times", n)
			}
		})
	}
}

// dial connects to the gateway.
func (g *gateway) dial() net.Conn {
	g.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestOtherMethods: nothing is sent but by POST, and that is said.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	body := x.hello("no")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/query/SendSingleMessage", "/namespaces/" + x.Namespace + "/query/ChangeMembers"} {
			answered, _, err := framework.Ask(t.Context(), httpClient, method, g.url+path, body)
			x.Must(err)
			if answered.StatusCode != http.StatusMethodNotAllowed || answered.Header.Get("Allow") != http.MethodPost {
				t.Errorf("%s %s: status %d, Allow %q", method, path, answered.StatusCode, answered.Header.Get("Allow"))
			}
		}
	}
	x.CheckRows(0)
}

// TestTwice: of a field that is there twice, the last one counts.
func TestTwice(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	a := g.post("/query/SendSingleMessage", fmt.Sprintf(
		`{"from_user_id":%d,"session_id":%d,"session_id":%d,"msg":"first","msg":"last"}`, x.Bot, x.Alice, x.Bob))
	if *a.Code != 0 {
		t.Fatalf("answered %+v", a)
	}
	if rows := x.Rows(); len(rows) != 1 || rows[0].To != x.Bob || rows[0].Text != "last" {
		t.Errorf("the store holds %+v", rows)
	}
}
