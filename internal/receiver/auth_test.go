// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// guarded is a handler for receivers in the namespace chat, whose Secret "caller" is theirs.
type guarded struct {
	*Handler
	t       *testing.T
	mux     *http.ServeMux
	objects client.WithWatch
	// reads are the objects that were read from the API.
	reads []string
}

func newGuarded(t *testing.T, secret map[string][]byte, receivers ...*v1alpha1.TeamTalkReceiver) *guarded {
	t.Helper()
	g := &guarded{t: t, mux: http.NewServeMux()}
	s := &corev1.Secret{Data: secret}
	s.Namespace, s.Name = "chat", "caller"
	objects := []client.Object{s}
	for _, r := range receivers {
		objects = append(objects, r)
	}
	g.objects = newClient(t, objects...)
	counting := interceptor.NewClient(g.objects, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			g.reads = append(g.reads, fmt.Sprintf("%T", o))
			return c.Get(ctx, key, o, opts...)
		},
	})
	g.Handler = NewHandler(Options{Client: counting, Log: logr.Discard()})
	g.mux.Handle(Pattern, g.Handler)
	g.mux.Handle(TokenPattern, g.Handler)
	t.Cleanup(func() {
		for _, r := range receivers {
			counted.end(client.ObjectKeyFromObject(r))
		}
	})
	return g
}

// do sends a request to the handler.
func (g *guarded) do(req *http.Request) *httptest.ResponseRecorder {
	g.t.Helper()
	g.reads = nil
	w := httptest.NewRecorder()
	g.mux.ServeHTTP(w, req.WithContext(g.t.Context()))
	return w
}

// post posts a body to the path after /v1/receivers/chat/. headers are names and values.
func (g *guarded) post(target, body string, headers ...string) *httptest.ResponseRecorder {
	g.t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/v1/receivers/chat/"+target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return g.do(req)
}

const anyJSON = `{"message":"h2"}`

// guardedBy is a receiver of a type, with an authentication.
func guardedBy(name string, kind v1alpha1.ReceiverType, a *v1alpha1.ReceiverAuthentication) *v1alpha1.TeamTalkReceiver {
	r := generic("")
	r.Name, r.Spec.Type, r.Spec.Authentication = name, kind, a
	return r
}

func byToken() *v1alpha1.ReceiverAuthentication {
	return &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "caller", Key: "token"}}
}

func byPassword() *v1alpha1.ReceiverAuthentication {
	return &v1alpha1.ReceiverAuthentication{BasicSecretRef: &v1alpha1.BasicSecretRef{Name: "caller"}}
}

func bySignature(header string, encoding v1alpha1.SignatureEncoding) *v1alpha1.ReceiverAuthentication {
	return &v1alpha1.ReceiverAuthentication{HMACSecretRef: &v1alpha1.HMACSecretRef{
		TokenSecretRef: v1alpha1.TokenSecretRef{Name: "caller", Key: "token"}, Header: header, Encoding: encoding,
	}}
}

// basic is the value of an Authorization header.
func basic(name, password string) string {
	return "Basic " + base64Of([]byte(name+":"+password))
}

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func hexSignature(body, key string) string {
	return hex.EncodeToString(hmacSHA256([]byte(key), []byte(body)))
}

// readCaseFile reads a file of testdata/cases.
func readCaseFile(t *testing.T, elements ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{"testdata", "cases"}, elements...)...))
	must(t, err)
	return content
}

// secretOfCase returns the data of the Secret of a case, as the API server stores it.
func secretOfCase(t *testing.T, name string) map[string][]byte {
	t.Helper()
	secret := &corev1.Secret{}
	must(t, yaml.UnmarshalStrict(readCaseFile(t, name, "secret.yaml"), secret))
	data := map[string][]byte{}
	for key, value := range secret.StringData {
		data[key] = []byte(value)
	}
	return data
}

// TestSignaturesOfOthers posts what other systems send, byte for byte.
func TestSignaturesOfOthers(t *testing.T) {
	const dir = "signatures-of-others"
	for name, tc := range map[string]struct {
		request string
		edit    func(*v1alpha1.TeamTalkReceiver)
		want    int
	}{
		"GitHub":               {"github.http", nil, 200},
		"Flux":                 {"flux.http", nil, 200},
		"without a prefix":     {"bare.http", nil, 200},
		"Grafana, any JSON":    {"grafana.http", nil, 200},
		"Grafana, its alerts":  {"grafana.http", ofType(v1alpha1.ReceiverAlertmanager), 200},
		"Flux, another header": {"flux.http", inHeader("X-Hub-Signature-256", ""), 401},
		"Gogs":                 {"gogs.http", inHeader("X-Gogs-Signature", "hex"), 200},
		"Gogs, not named":      {"gogs.http", nil, 401},
		"Shopify":              {"shopify.http", inHeader("x-shopify-hmac-sha256", "base64"), 200},
		"Shopify, as hex":      {"shopify.http", inHeader("X-Shopify-Hmac-Sha256", ""), 401},
		"GitHub, as base64":    {"github.http", inHeader("X-Hub-Signature-256", "base64"), 401},
		"GitHub, SHA-1":        {"github.http", inHeader("X-Hub-Signature", ""), 401},
		"GitLab":               {"gitlab.http", func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication = byToken() }, 200},
		"GitLab, not a sign":   {"gitlab.http", nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			r := &v1alpha1.TeamTalkReceiver{}
			must(t, yaml.UnmarshalStrict(readCaseFile(t, dir, "receiver.yaml"), r))
			r.Namespace = "chat"
			if tc.edit != nil {
				tc.edit(r)
			}
			g := newGuarded(t, secretOfCase(t, dir), r)
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(readCaseFile(t, dir, tc.request))))
			must(t, err)
			req.URL.Path = "/v1/receivers/chat/signed"
			body, err := io.ReadAll(req.Body)
			must(t, err)
			req.Body = io.NopCloser(bytes.NewReader(body))
			if w := g.do(req); w.Code != tc.want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tc.want)
			}
			// Nobody else can sign another body.
			req.Body = io.NopCloser(bytes.NewReader(append(body, ' ')))
			req.ContentLength++
			if w := g.do(req); r.Spec.Authentication.HMACSecretRef != nil && w.Code != 401 {
				t.Errorf("another body: %d %s", w.Code, w.Body)
			}
		})
	}
}

func ofType(kind v1alpha1.ReceiverType) func(*v1alpha1.TeamTalkReceiver) {
	return func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type = kind }
}

func inHeader(header string, encoding v1alpha1.SignatureEncoding) func(*v1alpha1.TeamTalkReceiver) {
	return func(r *v1alpha1.TeamTalkReceiver) { r.Spec.Authentication = bySignature(header, encoding) }
}

// TestCredentialsHavePlaces: where a token and a password may be, and where not.
func TestCredentialsHavePlaces(t *testing.T) {
	const token = "s3cret+/="
	g := newGuarded(t, map[string][]byte{"token": []byte(token), "username": []byte("jenkins\n"), "password": []byte("p:ss\r\n")},
		guardedBy("token", v1alpha1.ReceiverGeneric, byToken()), guardedBy("basic", v1alpha1.ReceiverGeneric, byPassword()))
	query := url.QueryEscape(token)
	for name, tc := range map[string]struct {
		target  string
		headers []string
		want    int
	}{
		"bearer":                    {"token", []string{"Authorization", "Bearer " + token}, 200},
		"bearer in lower case":      {"token", []string{"Authorization", "bearer  " + token}, 200},
		"GitLab":                    {"token", []string{"X-Gitlab-Token", token}, 200},
		"the path":                  {"token/" + url.PathEscape(token), nil, 200},
		"?token":                    {"token?token=" + query, nil, 200},
		"?access_token":             {"token?access_token=" + query + "&timestamp=1&sign=x", nil, 200},
		"?key":                      {"token?key=" + query, nil, 200},
		"in two places, one right":  {"token/other?key=" + query, []string{"Authorization", "Basic eDp5"}, 200},
		"another parameter":         {"token?secret=" + query, nil, 401},
		"another header":            {"token", []string{"X-Token", token}, 401},
		"a password":                {"token", []string{"Authorization", basic("token", token)}, 401},
		"no scheme":                 {"token", []string{"Authorization", token}, 401},
		"a part":                    {"token/s3cret", nil, 401},
		"empty":                     {"token?token=&key=", []string{"Authorization", "Bearer "}, 401},
		"a malformed query":         {"token?token=%zz", nil, 401},
		"basic":                     {"basic", []string{"Authorization", basic("jenkins", "p:ss")}, 200},
		"basic with newlines":       {"basic", []string{"Authorization", basic("jenkins", "p:ss\n")}, 200},
		"basic, another user":       {"basic", []string{"Authorization", basic("admin", "p:ss")}, 401},
		"basic, another password":   {"basic", []string{"Authorization", basic("jenkins", "pass")}, 401},
		"basic, nothing":            {"basic", []string{"Authorization", basic("", "")}, 401},
		"basic, malformed":          {"basic", []string{"Authorization", "Basic ?"}, 401},
		"basic, password as bearer": {"basic", []string{"Authorization", "Bearer p:ss"}, 401},
		"basic, password in query":  {"basic?token=p:ss", nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			w := g.post(tc.target, anyJSON, tc.headers...)
			if w.Code != tc.want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tc.want)
			}
			if challenges := w.Header().Values("WWW-Authenticate"); (len(challenges) == 2) != (w.Code == 401) {
				t.Errorf("%q", challenges)
			}
		})
	}
}

// TestSecretsEndInNewlines: the Secret's value, and what the caller has of it, may end in a newline.
func TestSecretsEndInNewlines(t *testing.T) {
	if key := secretOfCase(t, "hmac-newline")["token"]; string(key) != "s3cret\n" {
		t.Fatalf("%q", key)
	}
	now := time.Now()
	seconds := fmt.Sprint(now.Unix())
	for _, stored := range []string{"s3cret\n", "s3cret", "s3cret\r\n"} {
		g := newGuarded(t, map[string][]byte{"token": []byte(stored)},
			guardedBy("token", v1alpha1.ReceiverGeneric, byToken()),
			guardedBy("signed", v1alpha1.ReceiverGeneric, bySignature("", "")),
			guardedBy("dingtalk", v1alpha1.ReceiverDingTalk, bySignature("", "")),
			guardedBy("feishu", v1alpha1.ReceiverFeishu, bySignature("", "")))
		for caller, known := range map[string]bool{
			"s3cret": true, "s3cret\n": true, "s3cret\r\n": true, "s3cret ": false, "secret": false, "": false,
		} {
			feishu := fmt.Sprintf(`{"timestamp":%q,"sign":%q}`, seconds, base64Of(hmacSHA256([]byte(seconds+"\n"+caller), nil)))
			for what, w := range map[string]*httptest.ResponseRecorder{
				"a signature":     g.post("signed", anyJSON, "X-Signature", "sha256="+hexSignature(anyJSON, caller)),
				"Feishu's sign":   g.post("feishu/hook", feishu),
				"DingTalk's sign": g.post("dingtalk?access_token=x&"+dingTalkQuery(now.UnixMilli(), caller), anyJSON),
			} {
				if (w.Code != 401) != known {
					t.Errorf("%s with %q, stored %q: %d", what, caller, stored, w.Code)
				}
			}
			w := g.post("token?token="+url.QueryEscape(caller), anyJSON)
			if (w.Code == 200) != (strings.TrimSpace(caller) == "s3cret") {
				t.Errorf("token %q, stored %q: %d", caller, stored, w.Code)
			}
		}
	}
}

// TestSignsOfRobots: the signs that the services' documented samples compute, and for how long they are accepted.
func TestSignsOfRobots(t *testing.T) {
	const dingTalk, feishu = "MYEtKC4/NfMR1l4prX++ai6oOf70X1xOf6UlnyUhJH4=", "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="
	at := time.UnixMilli(1_600_000_000_000)
	for name, tc := range map[string]struct {
		timestamp, sign, secret string
		now                     time.Time
		want                    bool
	}{
		"as documented":           {"1600000000000", dingTalk, "this is secret", at, true},
		"with a space for +":      {"1600000000000", strings.ReplaceAll(dingTalk, "+", " "), "this is secret", at, true},
		"one hour old":            {"1600000000000", dingTalk, "this is secret", at.Add(time.Hour), true},
		"older":                   {"1600000000000", dingTalk, "this is secret", at.Add(time.Hour + time.Millisecond), false},
		"one hour early":          {"1600000000000", dingTalk, "this is secret", at.Add(-time.Hour), true},
		"earlier":                 {"1600000000000", dingTalk, "this is secret", at.Add(-time.Hour - time.Millisecond), false},
		"another secret":          {"1600000000000", dingTalk, "this is secre", at, false},
		"another time":            {"1600000000001", dingTalk, "this is secret", at, false},
		"seconds":                 {"1600000000", dingTalk, "this is secret", at, false},
		"no time":                 {"", dingTalk, "this is secret", at, false},
		"a time beyond all":       {"9223372036854775807", dingTalk, "this is secret", at, false},
		"a time before all":       {"-9223372036854775808", dingTalk, "this is secret", at, false},
		"no sign":                 {"1600000000000", "", "this is secret", at, false},
		"not base64":              {"1600000000000", "?", "this is secret", at, false},
		"escaped twice":           {"1600000000000", url.QueryEscape(dingTalk), "this is secret", at, false},
		"Feishu's for DingTalk's": {"1600000000000", feishu, "this is secret", at, false},
	} {
		if got := dingTalkSigned(tc.timestamp, tc.sign, []byte(tc.secret), tc.now); got != tc.want {
			t.Errorf("DingTalk, %s: %v", name, got)
		}
	}
	at = time.Unix(1_599_360_473, 0)
	for body, tc := range map[string]struct {
		now  time.Time
		want bool
	}{
		`{"timestamp":"1599360473","sign":"` + feishu + `","msg_type":"text"}`: {at, true},
		`{"timestamp":1599360473,"sign":"` + feishu + `"}`:                     {at.Add(time.Hour), true},
		"\xEF\xBB\xBF" + `{"timestamp":"1599360473","sign":"` + feishu + `"}`:  {at, true},
		`{"timestamp": "1599360473", "sign":"` + feishu + `" }`:                {at.Add(time.Hour + time.Second), false},
		`{"timestamp":"1599360473","sign":"` + feishu + `","early":1}`:         {at.Add(-time.Hour - time.Second), false},
		`{"timestamp":"1599360474","sign":"` + feishu + `"}`:                   {at, false},
		`{"timestamp":"1599360473"}`:                                           {at, false},
		`{"timestamp":null,"sign":"` + feishu + `"}`:                           {at, false},
		`{"content":{"timestamp":"1599360473","sign":"` + feishu + `"}}`:       {at, false},
		`[{"timestamp":"1599360473","sign":"` + feishu + `"}]`:                 {at, false},
		`{"timestamp":"1599360473","sign":"` + feishu + `"`:                    {at, false},
		``: {at, false},
		`{"timestamp":"1599360473000","sign":"` + feishu + `","unit":"milliseconds"}`: {at, false},
	} {
		timestamp, sign := feishuSign([]byte(body), "application/json")
		if got := feishuSigned(timestamp, sign, []byte("demo"), tc.now); got != tc.want {
			t.Errorf("Feishu, %s: %v", body, got)
		}
	}
}

// TestSignInAnotherCharset: Feishu's sign is read in the encoding of the body.
func TestSignInAnotherCharset(t *testing.T) {
	g := newGuarded(t, map[string][]byte{"token": []byte("s3cret")}, guardedBy("feishu", v1alpha1.ReceiverFeishu, bySignature("", "")))
	seconds := fmt.Sprint(time.Now().Unix())
	for name, tc := range map[string]struct {
		encoding    encoding.Encoding
		contentType string
	}{
		"UTF-8":                    {encoding.Nop, "application/json"},
		"GBK":                      {simplifiedchinese.GBK, "application/json; charset=gbk"},
		"UTF-16 with a mark":       {unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), "application/json"},
		"UTF-16 of a content type": {unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM), "application/json; charset=utf-16be"},
	} {
		for secret, want := range map[string]int{"s3cret": http.StatusOK, "other": http.StatusUnauthorized} {
			sign := base64Of(hmacSHA256([]byte(seconds+"\n"+secret), nil))
			text := fmt.Sprintf(`{"timestamp":%q,"sign":%q,"msg_type":"text","content":{"text":"磁盘 %s"}}`, seconds, sign, name)
			body, err := tc.encoding.NewEncoder().String(text)
			must(t, err)
			w := g.post("feishu/hook", body, "Content-Type", tc.contentType)
			if w.Code != want || want == http.StatusUnauthorized && !strings.Contains(w.Body.String(), "19021") {
				t.Errorf("%s, %s: %d %s", name, secret, w.Code, w.Body)
			}
		}
	}
}
