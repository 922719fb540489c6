// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// posts is a handler with a receiver of each type, named after it, whose token is "secret".
type posts struct {
	t       testing.TB
	client  client.WithWatch
	handler *Handler
	// busy: there are too many requests.
	busy bool
	// broken: the API creates nothing.
	broken bool
}

func newPosts(t testing.TB) *posts {
	p := &posts{t: t}
	objects := []client.Object{&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "token"}, Data: map[string][]byte{"token": []byte("secret")},
	}}
	for _, kind := range []v1alpha1.ReceiverType{
		v1alpha1.ReceiverAlertmanager, v1alpha1.ReceiverGrafana, v1alpha1.ReceiverSlack, v1alpha1.ReceiverDingTalk,
		v1alpha1.ReceiverWeCom, v1alpha1.ReceiverFeishu, v1alpha1.ReceiverGeneric,
	} {
		r := &v1alpha1.TeamTalkReceiver{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: strings.ToLower(string(kind))}}
		r.Spec.Type, r.Spec.To.Users, r.Spec.DedupWindowSeconds = kind, []v1alpha1.UserID{2}, 300
		r.Spec.Authentication = &v1alpha1.ReceiverAuthentication{
			TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "token", Key: "token"},
		}
		objects = append(objects, r)
	}
	p.client = interceptor.NewClient(newClient(t, objects...), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.CreateOption) error {
			if p.broken {
				return errors.New("the API is out of order")
			}
			o.SetCreationTimestamp(metav1.Now())
			return c.Create(ctx, o, options...)
		},
	})
	p.handler = NewHandler(Options{
		Client: p.client, Log: logr.Discard(), Identify: func(context.Context, string) bool { return !p.busy },
	})
	return p
}

// post posts a body to a receiver, with a query after its name if any.
func (p *posts) post(name, token, body string) *httptest.ResponseRecorder {
	name, query, _ := strings.Cut(name, "?")
	req := httptest.NewRequestWithContext(p.t.Context(), http.MethodPost, "/v1/receivers/chat/"+name+"?"+query,
		strings.NewReader(body))
	req.SetPathValue("namespace", "chat")
	req.SetPathValue("name", name)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, req)
	return w
}

// TestAnswersOfServices: callers check what their service answers with.
func TestAnswersOfServices(t *testing.T) {
	services := []struct{ name, good, empty, unknown string }{
		{"slack", `{"text":"hello"}`, `{"text":" ","attachments":[{}]}`, `{"text":["a"]}`},
		{"dingtalk", `{"msgtype":"text","text":{"content":"hello"}}`, `{"msgtype":"text","text":{"content":""}}`, `{"msgtype":"audio"}`},
		{"wecom", `{"msgtype":"text","text":{"content":"hello"}}`, `{"msgtype":"markdown","markdown":{"content":" "}}`, `{"msgtype":"audio"}`},
		{"feishu", `{"msg_type":"text","content":{"text":"hello"}}`, `{"msg_type":"text","content":{"text":""}}`, `{"msg_type":"audio"}`},
	}
	// want are the status codes, and how the bodies begin, by service in the order above.
	want := map[string]struct {
		code   int
		bodies [4]string
	}{
		"good":        {200, [4]string{`ok`, `{"errcode":0,"errmsg":"ok"}`, `{"errcode":0,"errmsg":"ok"}`, `{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}`}},
		"again":       {200, [4]string{`ok`, `{"errcode":0,"errmsg":"ok"}`, `{"errcode":0,"errmsg":"ok"}`, `{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}`}},
		"empty":       {400, [4]string{`no_text`, `{"errcode":40035,"errmsg":"there is no text: text has no content"}`, `{"errcode":44004,"errmsg":"there is no text: markdown has no content"}`, `{"code":9499,"data":{},"msg":"there is no text: text has no content"}`}},
		"unknown":     {400, [4]string{`no_text`, `{"errcode":400105,"errmsg":"unknown type of message: msgtype must be text, `, `{"errcode":40008,"errmsg":"unknown type`, `{"code":9499,"data":{},"msg":"unknown type of message: msg_type must be`}},
		"not JSON":    {400, [4]string{`invalid_payload`, `{"errcode":40035,"errmsg":"the body is not JSON`, `{"errcode":40058,"errmsg":"the body`, `{"code":9499,"data":{},"msg":"the body`}},
		"a list":      {400, [4]string{`invalid_payload`, `{"errcode":40035,"errmsg":"the body must be a JSON object"}`, `{"errcode":40058,`, `{"code":9499,`}},
		"too large":   {413, [4]string{`invalid_payload`, `{"errcode":40035,"errmsg":"the body is longer than`, `{"errcode":40058,`, `{"code":9499,`}},
		"too fast":    {503, [4]string{`rollup_error`, `{"errcode":130101,"errmsg":"it cannot be accepted now: try again`, `{"errcode":45009,`, `{"code":11232,`}},
		"unavailable": {503, [4]string{`rollup_error`, `{"errcode":-1,"errmsg":"it cannot be accepted now: try again`, `{"errcode":-1,`, `{"code":11232,`}},
	}
	for i, service := range services {
		p := newPosts(t)
		for _, kind := range []string{"good", "again", "empty", "unknown", "not JSON", "a list", "too large", "too fast", "unavailable"} {
			p.busy, p.broken = kind == "too fast", kind == "unavailable"
			body := map[string]string{
				"good": service.good, "again": service.good, "empty": service.empty, "unknown": service.unknown,
				"not JSON": "hello", "a list": "[]", "too large": strings.Repeat(" ", MaxBody+1), "too fast": service.good,
				"unavailable": strings.Replace(service.good, "hello", "other", 1),
			}[kind]
			w := p.post(service.name, "secret", body)
			got := strings.TrimSpace(w.Body.String())
			if w.Code != want[kind].code || !strings.HasPrefix(got, want[kind].bodies[i]) {
				t.Errorf("%s, %s: %d %s, want %d %s", service.name, kind, w.Code, got, want[kind].code, want[kind].bodies[i])
			}
			contentType := "application/json"
			if service.name == "slack" {
				contentType = "text/plain; charset=utf-8"
			}
			if w.Header().Get("Content-Type") != contentType {
				t.Errorf("%s, %s: %s", service.name, kind, w.Header().Get("Content-Type"))
			}
		}
		list := &v1alpha1.TeamTalkMessageList{}
		must(t, p.client.List(t.Context(), list))
		if len(list.Items) != 1 || *list.Items[0].Spec.Content.Text != "hello" {
			t.Errorf("%s: %d messages", service.name, len(list.Items))
		}
	}
}

// TestAnswersToUnauthenticatedCallers: they are in the form of the service that the request is for, and do not depend
// on the receiver.
func TestAnswersToUnauthenticatedCallers(t *testing.T) {
	p := newPosts(t)
	for query, want := range map[string]string{
		"":                                   `{"error":"not authenticated: `,
		"?access_token=x":                    `{"errcode":300001,"errmsg":"not authenticated: `,
		"?access_token=x&timestamp=1&sign=y": `{"errcode":310000,"errmsg":"not authenticated: `,
		"?key=x":                             `{"errcode":93000,"errmsg":"not authenticated: `,
	} {
		var first string
		for _, name := range []string{"nobody", "slack", "dingtalk", "wecom", "feishu", "generic", "alertmanager", "grafana"} {
			w := p.post(name+query, "wrong", `{}`)
			got := fmt.Sprint(w.Code, w.Header(), w.Body)
			if first == "" {
				first = got
			}
			if w.Code != http.StatusUnauthorized || !strings.HasPrefix(w.Body.String(), want) || got != first {
				t.Errorf("%s%s: %s, want 401 %s as %s", name, query, got, want, first)
			}
		}
	}
	for _, name := range []string{"nobody", "feishu", "generic"} {
		w := p.post(name, "wrong", `{"timestamp":"1","sign":"x","msg_type":"text"}`)
		if !strings.Contains(w.Body.String(), `"code":19021,"data":{},"msg":"not authenticated: `) {
			t.Errorf("%s, signed as Feishu's callers sign: %s", name, w.Body)
		}
	}
	w := p.post("feishu", "wrong", `{}`)
	if !strings.Contains(w.Body.String(), `"code":19001,"data":{},"msg":"not authenticated: `) {
		t.Errorf("no fields of Feishu's: %s", w.Body)
	}
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/receivers/chat/slack", strings.NewReader("payload={}"))
	req.SetPathValue("namespace", "chat")
	req.SetPathValue("name", "slack")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	form := httptest.NewRecorder()
	p.handler.ServeHTTP(form, req)
	if form.Code != http.StatusUnauthorized || form.Body.String() != "invalid_token" {
		t.Errorf("a form: %d %s", form.Code, form.Body)
	}
}
