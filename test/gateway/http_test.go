// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestOldHTTP: callers that speak HTTP as old programs do are understood.
func TestOldHTTP(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	body := func(text string) string {
		return fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, x.Bot, x.Alice, text)
	}
	const path = "/query/SendSingleMessage"
	chunked := body("in chunks")
	for text, request := range map[string]string{
		"as HTTP/1.0": fmt.Sprintf("POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", path, len(body("as HTTP/1.0")), body("as HTTP/1.0")),
		"kept alive":  fmt.Sprintf("POST %s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n\r\n%s", path, len(body("kept alive")), body("kept alive")),
		"in chunks": fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
			path, chunked[:5], len(chunked)-5, chunked[5:]),
		"as a form": fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			path, len(body("as a form")), body("as a form")),
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			answered := g.raw(t, request)
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

// raw writes a request byte by byte as it is, and returns the answer to it.
func (g *gateway) raw(t *testing.T, request string) *http.Response {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(framework.Timeout)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	answered, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = answered.Body.Close() })
	return answered
}

// TestOtherMethods: nothing is sent but by POST, and that is said.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.sidecar()
	body := fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"no"}`, x.Bot, x.Alice)
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodPatch} {
		for _, path := range []string{"/query/SendSingleMessage", "/namespaces/" + x.Namespace + "/query/ChangeMembers"} {
			r, err := http.NewRequest(method, g.url+path, strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			answered, err := httpClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answered.Body.Close()
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
