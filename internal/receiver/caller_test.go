// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// everyForm are receivers of each form of authentication, by name.
func everyForm() []*v1alpha1.TeamTalkReceiver {
	return []*v1alpha1.TeamTalkReceiver{
		guardedBy("cluster", v1alpha1.ReceiverGeneric, nil),
		guardedBy("token", v1alpha1.ReceiverAlertmanager, byToken()),
		guardedBy("basic", v1alpha1.ReceiverGeneric, byPassword()),
		guardedBy("signed", v1alpha1.ReceiverAlertmanager, bySignature("", "")),
		guardedBy("named", v1alpha1.ReceiverGeneric, bySignature("X-Gogs-Signature", "")),
		guardedBy("dingtalk", v1alpha1.ReceiverDingTalk, bySignature("", "")),
		guardedBy("feishu", v1alpha1.ReceiverFeishu, bySignature("", "")),
	}
}

var everySecret = map[string][]byte{"token": []byte("s3cret"), "username": []byte("u"), "password": []byte("p")}

// TestUnauthenticatedCallersLearnNothing: whatever a caller without rights sends, and whatever the receiver asks for,
// the answer is that of a receiver that does not exist, after as many reads from the API.
func TestUnauthenticatedCallersLearnNothing(t *testing.T) {
	g := newGuarded(t, everySecret, everyForm()...)
	bodyRead := 0
	var broken error
	g.options.ReadBody = func(*http.Request) ([]byte, error) {
		bodyRead++
		return []byte(anyJSON), broken
	}
	now := fmt.Sprint(time.Now().UnixMilli())
	for what, tc := range map[string]struct {
		more, body string
		headers    []string
		authorize  error
		broken     error
		want       int
	}{
		"nothing":            {authorize: ErrUnauthenticated, want: 401},
		"a bearer":           {headers: []string{"Authorization", "Bearer x"}, authorize: ErrUnauthenticated, want: 401},
		"another's bearer":   {headers: []string{"Authorization", "Bearer x"}, authorize: ErrForbidden, want: 403},
		"no answer about it": {headers: []string{"Authorization", "Bearer x"}, authorize: errors.New("gone"), want: 503},
		"a password":         {headers: []string{"Authorization", basic("u", "x")}, authorize: ErrUnauthenticated, want: 401},
		"a signature":        {headers: []string{"X-Signature", hexSignature(anyJSON, "x")}, authorize: ErrUnauthenticated, want: 401},
		"another header":     {headers: []string{"X-Gogs-Signature", hexSignature(anyJSON, "x")}, authorize: ErrUnauthenticated, want: 401},
		"a path":             {more: "/x", authorize: ErrUnauthenticated, want: 401},
		"a query":            {more: "?access_token=x&key=y", authorize: ErrUnauthenticated, want: 401},
		"DingTalk's sign":    {more: "?timestamp=" + now + "&sign=x", authorize: ErrUnauthenticated, want: 401},
		"a large body":       {body: strings.Repeat(" ", MaxBody+1), authorize: ErrUnauthenticated, want: 413},
		"a slow body":        {authorize: ErrUnauthenticated, broken: errors.New("too slow"), want: 503},
	} {
		broken = tc.broken
		g.options.Authorize = func(*http.Request, string) error { return tc.authorize }
		answers := map[string]string{}
		for _, name := range []string{"absent", "cluster", "token", "basic", "signed", "named", "dingtalk", "feishu"} {
			bodyRead = 0
			w := g.post(name+tc.more, tc.body+anyJSON, tc.headers...)
			if w.Code != tc.want {
				t.Errorf("%s, to %q: %d %s", what, name, w.Code, w.Body)
			}
			slices.Sort(g.reads)
			answers[name] = fmt.Sprint(w.Code, w.Body, w.Header(), g.reads, "body read ", bodyRead)
		}
		for name, got := range answers {
			if got != answers["absent"] {
				t.Errorf("%s, to %q:\n%s\nto one that does not exist:\n%s", what, name, got, answers["absent"])
			}
		}
		if !strings.Contains(answers["absent"], "[*v1.Secret *v1alpha1.TeamTalkReceiver]") {
			t.Errorf("%s: %s", what, answers["absent"])
		}
	}
}

// TestWhoMayIsToldMore: callers who may create messages in the namespace learn whether there is such a receiver.
func TestWhoMayIsToldMore(t *testing.T) {
	g := newGuarded(t, everySecret, everyForm()...)
	g.options.Authorize = func(*http.Request, string) error { return nil }
	for name, want := range map[string]int{"absent": 404, "cluster": 200, "token": 401, "basic": 401, "signed": 401, "feishu": 401} {
		if w := g.post(name, anyJSON); w.Code != want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}

// TestKnownCallersAreCountedBeforeTheirBodyIsRead: what a caller with credentials sends is counted for the receiver.
// Only a signature needs the body first.
func TestKnownCallersAreCountedBeforeTheirBodyIsRead(t *testing.T) {
	g := newGuarded(t, everySecret, everyForm()...)
	var order []string
	g.options.Identify = func(_ context.Context, caller string) bool {
		order = append(order, caller)
		return true
	}
	g.options.ReadBody = func(*http.Request) ([]byte, error) {
		order = append(order, "body")
		return []byte(`{"alerts":[{"status":"firing"}]}`), nil
	}
	now := time.Now().UnixMilli()
	sign := dingTalkQuery(now, "s3cret")
	for target, headers := range map[string][]string{
		"token": {"Authorization", "Bearer s3cret"}, "token/s3cret": nil, "token?key=s3cret": nil,
		"basic": {"Authorization", basic("u", "p")}, "dingtalk?" + sign: nil,
	} {
		order = nil
		g.post(target, "", headers...)
		name, _, _ := strings.Cut(strings.ReplaceAll(target, "?", "/"), "/")
		if got := strings.Join(order, ", "); got != "receiver chat/"+name+", body" {
			t.Errorf("%s: %s", target, got)
		}
	}
	order = nil
	g.post("signed", "", "X-Hub-Signature-256", hexSignature(`{"alerts":[{"status":"firing"}]}`, "s3cret"))
	if got := strings.Join(order, ", "); got != "body, receiver chat/signed" {
		t.Errorf("signed: %s", got)
	}
}

// dingTalkQuery is what DingTalk's callers add to the URL.
func dingTalkQuery(ms int64, secret string) string {
	timestamp := fmt.Sprint(ms)
	return url.Values{"timestamp": {timestamp}, "sign": {base64Of(hmacSHA256([]byte(secret), []byte(timestamp+"\n"+secret)))}}.Encode()
}

// TestUnauthenticatedCallersAreToldTheForms: what a receiver may ask for, and the same for all of them.
func TestUnauthenticatedCallersAreToldTheForms(t *testing.T) {
	g := newGuarded(t, everySecret, everyForm()...)
	w := g.post("signed", anyJSON)
	for _, want := range []string{
		"Authorization: Bearer TOKEN", "?token=", "?access_token=", "?key=", "X-Gitlab-Token", "last segment of the path",
		"Authorization: Basic", "X-Hub-Signature-256: sha256=", "DingTalk", "Feishu",
	} {
		if text := w.Body.String(); w.Code != 401 || !strings.Contains(text, want) || strings.Contains(text, "signed") {
			t.Errorf("%d %s", w.Code, text)
		}
	}
}

// TestServed: a request tells whether a gateway serves the receiver, and repeats tell nothing more.
func TestServed(t *testing.T) {
	receivers := append(everyForm(), guardedBy("keyless", v1alpha1.ReceiverGeneric, &v1alpha1.ReceiverAuthentication{
		TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "caller", Key: "later"},
	}))
	secret := maps.Clone(everySecret)
	g := newGuarded(t, secret, receivers...)
	now := time.Unix(1_800_000_000, 0)
	g.now = func() time.Time { return now }
	served := func(name string) string {
		t.Helper()
		r := &v1alpha1.TeamTalkReceiver{}
		must(t, g.objects.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, r))
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionServed)
		if c == nil {
			return ""
		}
		return fmt.Sprint(c.Status, " ", c.Reason, " ", c.ObservedGeneration)
	}
	for _, name := range []string{"cluster", "token", "keyless"} {
		g.post(name, anyJSON) // nobody is authenticated
		if n := len(g.status.pending); n != 1 {
			t.Errorf("%s: %d statuses are to be written", name, n)
		}
		g.status.flush(t.Context())
		g.post(name, anyJSON)
		if n := len(g.status.pending); n != 0 {
			t.Errorf("%s: a repeat has %d statuses written", name, n)
		}
	}
	for name, want := range map[string]string{"cluster": "True Served 0", "token": "True Served 0", "keyless": "False SecretNotFound 0", "basic": ""} {
		if got := served(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// A process with fewer permissions than others takes it back after a minute.
	r := &v1alpha1.TeamTalkReceiver{}
	problem := &SecretProblem{"may not be read"}
	for _, tc := range []struct {
		receiver   string
		after      time.Duration
		generation int64
		problem    *SecretProblem
		want       bool
	}{
		{"token", 59 * time.Second, 0, problem, false}, {"token", time.Minute, 0, problem, true},
		{"token", time.Second, 1, problem, true}, {"token", time.Hour, 0, nil, false},
		{"keyless", time.Second, 0, nil, true}, {"keyless", time.Second, 0, problem, true},
		{"basic", 0, 0, nil, true},
	} {
		must(t, g.objects.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: tc.receiver}, r))
		r.Generation = tc.generation
		if got := changesServed(r, servedCondition(r, now.Add(tc.after), tc.problem)); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// TestNamesOfNoReceiversAreNotLogged: a name may be a token that was put into the wrong place.
func TestNamesOfNoReceiversAreNotLogged(t *testing.T) {
	const canary = "s3cret-canary"
	var log strings.Builder
	for name, failure := range map[string]error{
		"forbidden": apierrors.NewForbidden(schema.GroupResource{Resource: "teamtalkreceivers"}, canary, errors.New("no role")),
		"away":      &url.Error{Op: "Get", URL: "https://api/" + canary, Err: errors.New("connection refused")},
		"absent":    nil,
	} {
		g := newGuarded(t, nil)
		log.Reset()
		g.options.Log = funcr.New(func(prefix, args string) { log.WriteString(prefix + args + "\n") }, funcr.Options{})
		g.options.ReadBody = func(*http.Request) ([]byte, error) { return nil, errors.New("too slow") }
		if failure != nil {
			g.client = interceptor.NewClient(g.objects, interceptor.Funcs{
				Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
					return failure
				},
			})
		}
		w := g.post(canary+"/"+canary+"?key="+canary, anyJSON)
		if text := w.Body.String() + log.String(); w.Code != 503 || !strings.Contains(log.String(), "chat/") || strings.Contains(text, canary) {
			t.Errorf("%s: %d %s", name, w.Code, text)
		}
	}
}
