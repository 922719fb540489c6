// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// callInbox sends a request to the inbox, checks the status, and returns the header and the body of the response.
func callInbox(t *testing.T, s *Server, method, path, body string, header map[string]string, status int) (http.Header, string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, s.InboxURL()+path, strings.NewReader(body))
	request.RequestURI = ""
	for k, v := range header {
		if request.Header.Set(k, v); k == "Host" {
			request.Host = v
		}
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, fmt.Sprint("status of ", method, " ", path, " ", body), status, response.StatusCode)
	return response.Header, string(b)
}

func TestInboxPages(t *testing.T) {
	s := start(t, nil)
	tests := map[string]struct {
		path, wantType, want string
		wantStatus           int
		header               map[string]string
	}{
		"page":               {path: "/", wantType: "text/html", want: s.DBProxyAddr(), wantStatus: 200},
		"script":             {path: "/app.js", wantType: "text/javascript", want: "EventSource", wantStatus: 200},
		"style":              {path: "/style.css", wantType: "text/css", want: "prefers-color-scheme", wantStatus: 200},
		"icon":               {path: "/icon.svg", wantType: "image/svg+xml", want: "<svg", wantStatus: 200},
		"health":             {path: "/healthz", wantType: "text/plain", want: "ok", wantStatus: 200},
		"users":              {path: "/api/users", wantType: "application/json", want: "陈晓雨", wantStatus: 200},
		"groups":             {path: "/api/groups", wantType: "application/json", want: `"members":[1,2,3]`, wantStatus: 200},
		"no messages":        {path: "/api/messages?session=all", wantType: "application/json", want: "[]", wantStatus: 200},
		"no such session":    {path: "/api/messages?session=tea", wantType: "application/json", want: "want user:ID:ID", wantStatus: 400},
		"no such limit":      {path: "/api/messages?limit=0", wantType: "application/json", want: "limit", wantStatus: 400},
		"no such page":       {path: "/web/index.html", wantType: "text/plain", want: "not found", wantStatus: 404},
		"a name of others":   {path: "/api/users", wantType: "application/json", want: "loopback", wantStatus: 403, header: map[string]string{"Host": "evil.example.com"}},
		"an address by name": {path: "/healthz", wantType: "text/plain", want: "ok", wantStatus: 200, header: map[string]string{"Host": "localhost:1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header, body := callInbox(t, s, http.MethodGet, test.path, "", test.header, test.wantStatus)
			if got := header.Get("Content-Type"); !strings.HasPrefix(got, test.wantType) {
				t.Errorf("content type %q, want %q", got, test.wantType)
			}
			if !strings.Contains(body, test.want) {
				t.Errorf("body lacks %q: %.300s", test.want, body)
			}
			if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
				t.Errorf("content security policy %q", policy)
			}
		})
	}
}

func TestInboxMessages(t *testing.T) {
	s := start(t, nil)
	key, err := cipher.New([]byte(DevelopmentKey))
	if err != nil {
		t.Fatal(err)
	}
	db, router := dial(t, s.DBProxyAddr()), dialRouter(t, s.RouterAddr())
	first := textMessage(t, 1, 2, single, "")
	first.MsgData = key.EncryptWithToken([]byte("<script>"), cipher.Token{0xAB})
	broken := textMessage(t, 2, 3, single, "")
	broken.MsgData = []byte("neither base64 nor encrypted")
	db.send(wire.CommandMsgData, 1, first)
	router.send(wire.CommandMsgData, 0, body[wire.IMMsgData](t, db.next()))
	db.send(wire.CommandMsgData, 2, broken)
	db.text(3, 1, 7, groupText, "to the group")
	db.settle()
	router.settle()

	type message struct {
		ID, From, To, Routed uint32
		Text, Token, Type    string
		Undecryptable        bool
	}
	want := []message{
		{ID: 1, From: 1, To: 2, Routed: 1, Text: "<script>", Token: "ab00000000000000", Type: "singleText"},
		{ID: 1, From: 2, To: 3, Undecryptable: true, Type: "singleText"},
		{ID: 1, From: 1, To: 7, Text: "to the group", Type: "groupText"},
	}
	tests := map[string]struct {
		query string
		want  []message
	}{
		"all":              {"all", want},
		"the last":         {"all&limit=1", want[2:]},
		"a pair":           {"user:1:2", want[:1]},
		"a pair, reversed": {"user:2:1", want[:1]},
		"a user":           {"user:2", want[:2]},
		"a group":          {"group:7", want[2:]},
		"nobody":           {"user:5:6", []message{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, body := callInbox(t, s, http.MethodGet, "/api/messages?session="+test.query, "", nil, 200)
			var got []message
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			equal(t, "messages", test.want, got)
			if strings.Contains(body, "<script>") {
				t.Error("JSON has unescaped markup")
			}
		})
	}
}

func TestFaultsOverHTTP(t *testing.T) {
	s := start(t, nil)
	const one = `{"kind":"drop","command":"0x0301","count":1}`
	_, body := callInbox(t, s, http.MethodPut, "/api/faults", `[`+one+`,{"kind":"late","delay":"1s"}]`, nil, 200)
	equal(t, "faults", 2, len(s.Faults().List()))
	if !strings.Contains(body, `"fired":0`) {
		t.Errorf("PUT answered %s", body)
	}
	c := dial(t, s.DBProxyAddr())
	c.text(1, 1, 2, single, "dropped")
	s.Faults().Remove(2)
	c.settle()
	_, body = callInbox(t, s, http.MethodGet, "/api/faults", "", nil, 200)
	if !strings.Contains(body, `"fired":1`) || !strings.Contains(body, `"firedByKind":{"drop":1}`) {
		t.Errorf("GET answered %s", body)
	}
	for _, bad := range []string{`[{"kind":"tea"}]`, `[{"kind":"drop","colour":1}]`, `[`} {
		callInbox(t, s, http.MethodPut, "/api/faults", bad, nil, 400)
	}
	equal(t, "faults after a refused PUT", 1, len(s.Faults().List()))
	callInbox(t, s, http.MethodDelete, "/api/faults", "", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403)
	callInbox(t, s, http.MethodDelete, "/api/faults/1", "", nil, 200)
	callInbox(t, s, http.MethodDelete, "/api/faults/1", "", nil, 404)
	callInbox(t, s, http.MethodPost, "/api/faults", one, nil, 200)
	equal(t, "faults after POST", 1, len(s.Faults().List()))
	callInbox(t, s, http.MethodDelete, "/api/faults", "", nil, 200)
	equal(t, "faults after DELETE", 0, len(s.Faults().List()))
}

func TestEventsFollowChanges(t *testing.T) {
	s := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.InboxURL()+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	change := func() {
		t.Helper()
		for lines.Scan() {
			if lines.Text() == "event: change" {
				return
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	change() // at once, for clients that reconnect
	c := dial(t, s.DBProxyAddr())
	c.text(1, 1, 2, single, "news")
	change()
	s.Stop() // ends the stream, rather than waiting for it
	for lines.Scan() {
	}
}
