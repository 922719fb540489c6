// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// central starts a gateway that checks who its callers are, in the tenant's namespace.
func (x *tenant) central(args ...string) *gateway {
	x.Helper()
	user := "central-" + x.Namespace
	x.Grant(user, "teamtalk-gateway")
	x.grantCluster(user, "system:auth-delegator")
	x.Must(framework.ApplyRoles(x.Context(), world.Admin, x.Namespace, "gateway_role.yaml"))
	x.Create(&rbacv1.RoleBinding{
		ObjectMeta: x.Named(user + "-app-keys"), Subjects: framework.Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "teamtalk-gateway-app-keys"},
	})
	return x.gatewayAs(user, args...)
}

func (x *tenant) hello(text string) string {
	return fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, x.Bot, x.Alice, text)
}

// TestTokens: Kubernetes decides who may send.
func TestTokens(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	elsewhere := newTenant(t)
	g := x.central()
	x.AllowCreate("app")
	app, other, foreign := x.Token("app"), x.Token("other"), x.Token("app", "somebody-else")
	tests := map[string]struct {
		path    string
		headers []string
		want    int
		status  int
	}{
		"no token":                   {want: 5, status: 401},
		"not a bearer":               {headers: []string{"Authorization", "Basic YTpi"}, want: 5, status: 401},
		"no real one":                {headers: []string{"Authorization", "Bearer nonsense"}, want: 5, status: 401},
		"changed":                    {headers: []string{"Authorization", "Bearer " + app[:len(app)-4] + "AAAA"}, want: 5, status: 401},
		"for another audience":       {headers: []string{"Authorization", "Bearer " + foreign}, want: 5, status: 401},
		"without the right":          {headers: []string{"Authorization", "Bearer " + other}, want: 5, status: 403},
		"in another namespace":       {path: "/namespaces/" + elsewhere.Namespace, headers: []string{"Authorization", "Bearer " + app}, want: 5, status: 403},
		"in none that exists":        {path: "/namespaces/nowhere", headers: []string{"Authorization", "Bearer " + app}, want: 5, status: 403},
		"with the right":             {headers: []string{"Authorization", "Bearer " + app}, want: 0, status: 200},
		"with the right, by path":    {path: "/namespaces/" + x.Namespace, headers: []string{"authorization", "bearer " + app}, want: 0, status: 200},
		"an app_key is not taken":    {headers: []string{"X-App-Key", secretAppKey}, want: 5, status: 401},
		"a page of another site's":   {headers: []string{"Authorization", "Bearer " + app, "Origin", "https://example.com", "Sec-Fetch-Site", "cross-site"}, want: -1, status: 403},
		"by a name that is not ours": {headers: []string{"Authorization", "Bearer " + app, "Host", "attacker.example"}, want: -1, status: 403},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.want < 0 {
				answered, _, err := framework.Ask(t.Context(), httpClient, http.MethodPost, g.url+tc.path+"/query/SendSingleMessage", x.hello(name), tc.headers...)
				if err != nil || answered.StatusCode != tc.status {
					t.Errorf("%+v, %v, want %d", answered, err, tc.status)
				}
				return
			}
			a := g.post(tc.path+"/query/SendSingleMessage", x.hello(name), tc.headers...)
			if *a.Code != tc.want || a.status != tc.status {
				t.Errorf("answered %+v, want code %d and status %d", a, tc.want, tc.status)
			}
		})
	}
	for _, row := range x.Rows() {
		if tests[row.Text].want != 0 {
			t.Errorf("%q is stored", row.Text)
		}
	}
	if n := len(x.Rows()) + len(elsewhere.Rows()); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

// TestAudience: tokens can be asked to be for the gateway, and nobody else.
func TestAudience(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.central("--token-audience", "teamtalk-gateway")
	x.AllowCreate("app")
	if a := g.post("/query/SendSingleMessage", x.hello("for Kubernetes"), "Authorization", "Bearer "+x.Token("app")); a.status != 401 {
		t.Errorf("a token for the API server: %+v", a)
	}
	if a := g.post("/query/SendSingleMessage", x.hello("for the gateway"), "Authorization", "Bearer "+x.Token("app", "teamtalk-gateway")); *a.Code != 0 {
		t.Errorf("a token for the gateway: %+v", a)
	}
}

// TestAppKeys: a Secret has the app keys, and may change at any time.
func TestAppKeys(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	other := newTenant(t)
	secret := &corev1.Secret{
		ObjectMeta: x.Named("teamtalk-app-keys"),
		StringData: map[string]string{
			"shop":    fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d]\n", secretAppKey, x.Namespace, x.Bot),
			"short":   fmt.Sprintf("appKey: short\nnamespace: %s\nsenders: [%d]\n", x.Namespace, x.Bot),
			"garbage": "{",
		},
	}
	x.Create(secret)
	g := x.central("--app-keys-secret", "teamtalk-app-keys")
	send := func(key string, sender uint32, prefix string) answer {
		return g.post(prefix+"/query/SendSingleMessage",
			fmt.Sprintf(`{"app_key":%q,"req_user_id":%d,"from_user_id":%d,"session_id":%d,"msg":"keyed"}`, key, sender, sender, x.Alice))
	}
	for name, tc := range map[string]struct {
		key    string
		sender uint32
		prefix string
		want   int
	}{
		"its own":           {secretAppKey, x.Bot, "", 0},
		"unknown":           {"another-key-of-some-length", x.Bot, "", 2},
		"none":              {"", x.Bot, "", 2},
		"too short a one":   {"short", x.Bot, "", 2},
		"another sender":    {secretAppKey, x.Bob, "", 3},
		"another namespace": {secretAppKey, x.Bot, "/namespaces/" + other.Namespace, 3},
	} {
		if a := send(tc.key, tc.sender, tc.prefix); *a.Code != tc.want || a.status != 200 {
			t.Errorf("%s: answered %+v, want code %d", name, a, tc.want)
		}
	}
	const next = "the-next-key-of-some-length"
	secret.StringData = map[string]string{"shop": fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d]\n", next, x.Namespace, x.Bot)}
	x.Update(secret)
	x.Eventually("the new key is not taken", func() bool { return *send(next, x.Bot, "").Code == 0 })
	if a := send(secretAppKey, x.Bot, ""); *a.Code != 2 {
		t.Errorf("the old key: %+v", a)
	}
	x.CheckRows(2)
}

// TestNothingOpen: without authentication the gateway does not listen beyond loopback.
func TestNothingOpen(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "localhost:0", "192.0.2.1:80"} {
		var log framework.Log
		p, err := framework.Start(world.Binary, &log, "gateway", "--auth", "None", "--bind-address", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.AwaitEnd(t); err == nil || !strings.Contains(log.String(), "loopback") || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: ended with %v and said: %s", address, err, log.String())
		}
	}
}

// TestPerCaller: a caller with too much in flight is asked to retry, and does not keep others from sending.
func TestPerCaller(t *testing.T) {
	t.Parallel()
	x := newTenant(t, framework.Unreachable)
	g := x.central("--max-in-flight", "8", "--max-in-flight-per-caller", "2")
	x.AllowCreate("greedy")
	x.AllowCreate("modest")
	greedy := []string{"Authorization", "Bearer " + x.Token("greedy")}
	modest := []string{"Authorization", "Bearer " + x.Token("modest")}
	waiting := []<-chan answer{
		g.postAside("/query/SendSingleMessage?wait=8", x.hello("waits"), greedy...),
		g.postAside("/query/SendSingleMessage?wait=8", x.hello("waits"), greedy...),
	}
	x.Eventually("the requests are not recorded", func() bool { return len(x.Messages()) == 2 })
	a := g.post("/query/SendSingleMessage", x.hello("one more"), greedy...)
	if *a.Code != 10 || a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || a.Detail == "" {
		t.Errorf("beyond the bound: %+v", a)
	}
	if a := g.post("/query/SendSingleMessage?wait=0", x.hello("hello"), modest...); *a.Code != 0 || a.status != http.StatusAccepted {
		t.Errorf("another caller: %+v", a)
	}
	for _, answered := range waiting {
		<-answered
	}
	if a := g.post("/query/SendSingleMessage?wait=0", x.hello("later"), greedy...); a.status != http.StatusAccepted {
		t.Errorf("afterwards: %+v", a)
	}
	if !g.metric(`teamtalk_gateway_requests_total{error_code="10",operation="SendSingleMessage",status="429"} 1`) {
		t.Error("the refusal is not counted")
	}
	if n := len(x.Messages()); n != 4 {
		t.Errorf("%d messages are recorded, want 4", n)
	}
}

// askingDirect is direct for callers with tokens.
func (x *tenant) askingDirect(args ...string) *gateway {
	x.Helper()
	user := x.directUser()
	x.Grant(user, "teamtalk-operator-secrets")
	x.grantCluster(user, "system:auth-delegator")
	return x.gatewayAs(user, append([]string{"--mode", "direct"}, args...)...)
}

// askingModes start a gateway that checks who its callers are, by its mode.
var askingModes = map[string]func(*tenant, ...string) *gateway{"record": (*tenant).central, "direct": (*tenant).askingDirect}

// TestNothingIsLearned has a caller without rights post to namespaces of others, with servers in
// whatever state: the answers are those of a namespace that does not exist.
func TestNothingIsLearned(t *testing.T) {
	for mode, start := range askingModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			outsider, ready, closed := newTenant(t), newTenant(t), newTenant(t, framework.Unreachable)
			void := "void-" + mode
			outsider.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: void}})
			outsider.AllowCreate("app") // at home
			token := outsider.Token("app")
			g := start(outsider)
			for endpoint, body := range map[string]string{
				"SendSingleMessage": ready.hello("hi"), "SendGroupMessage": ready.hello("hi"),
				"SendBroadCastMessage": fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d],"msg":"hi"}`, ready.Bot, ready.Alice),
				"CreateGroup":          fmt.Sprintf(`{"req_user_id":%d,"group_name":"x","user_id_list":[%d]}`, ready.Bot, ready.Alice),
				"ChangeMembers":        fmt.Sprintf(`{"req_user_id":%d,"group_id":%d,"modify_type":1,"user_id_list":[%d]}`, ready.Bot, ready.OnCall, ready.Alice),
			} {
				read := map[string]string{}
				for _, namespace := range []string{"nowhere", void, ready.Namespace, closed.Namespace} {
					a := g.post("/namespaces/"+namespace+"/query/"+endpoint, body, "Authorization", "Bearer "+token)
					read[namespace] = strings.ReplaceAll(fmt.Sprint(a.status, *a.Code, a.Text, a.Detail, a.MsgID, a.GroupID, a.Message, a.Results), namespace, "NAMESPACE")
				}
				for namespace, shown := range read {
					if shown != read["nowhere"] || !strings.HasPrefix(shown, "403 ") {
						t.Errorf("%s: the answer for %s is %q, that for a namespace that does not exist %q", endpoint, namespace, shown, read["nowhere"])
					}
				}
			}
			if rows := ready.Rows(); len(rows) != 0 || len(ready.Messages())+len(closed.Messages()) != 0 {
				t.Errorf("the store holds %+v", rows)
			}
		})
	}
}

// TestSenders: an app key cannot send as a sender that the server does not allow, in either mode.
func TestSenders(t *testing.T) {
	for mode, start := range askingModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			x := newTenant(t)
			x.Create(&corev1.Secret{
				ObjectMeta: x.Named("teamtalk-app-keys"),
				StringData: map[string]string{"shop": fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d, %d]\ngroups: true\n", secretAppKey, x.Namespace, x.Bot, x.Bob)},
			})
			g := start(x, "--app-keys-secret", "teamtalk-app-keys")
			for endpoint, tc := range map[string]struct {
				body string
				want int
			}{
				"SendSingleMessage": {`{"app_key":%q,"from_user_id":%d,"session_id":%d,"msg":"hi"}`, 3},
				"SendP2PMessage":    {`{"app_key":%q,"req_user_id":%d,"session_id":%d,"msg":"hi"}`, 3},
				"CreateGroup":       {`{"app_key":%q,"req_user_id":%d,"group_name":"x","user_id_list":[%d]}`, 11},
			} {
				if a := g.post("/query/"+endpoint, fmt.Sprintf(tc.body, secretAppKey, x.Bob, x.Alice)); *a.Code != tc.want {
					t.Errorf("%s: answered %+v, want code %d", endpoint, a, tc.want)
				}
			}
			if rows := x.RowsFrom(x.Bob); len(rows) != 0 {
				t.Errorf("the store holds %+v", rows)
			}
			if a := g.post("/query/SendSingleMessage?wait=8", fmt.Sprintf(`{"app_key":%q,"from_user_id":%d,"session_id":%d,"msg":"hi"}`, secretAppKey, x.Bot, x.Alice)); *a.Code != 0 {
				t.Errorf("the sender that is allowed: %+v", a)
			}
		})
	}
}

// TestObjections: TeamTalk's objections are answered in time, also before a replica must have caught up.
func TestObjections(t *testing.T) {
	t.Parallel()
	const ghost, later = 1_999_997, 1_999_996
	x := newTenant(t, func(s *v1alpha1.TeamTalkServer) {
		lag := int32(20)
		s.Spec.MaxReplicaLagSeconds = &lag
		s.Spec.Senders.Allowed = []v1alpha1.UserID{ghost}
	})
	g := x.sidecar()
	for name, tc := range map[string]mistake{
		"an unknown user":   {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bot, later), 4, "does not exist"},
		"an unknown group":  {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bot, ghost), 4, "does not exist"},
		"not in the group":  {"SendGroupMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, x.Bot, x.Closed), 4, "not a member"},
		"an unknown sender": {"SendSingleMessage", fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":"hi"}`, ghost, x.Alice), 3, "does not exist"},
		"one of several":    {"SendBroadCastMessage", fmt.Sprintf(`{"from_user_id":%d,"session_ids":[%d,%d],"msg":"some"}`, x.Bot, x.Alice, ghost), 4, "1 of 2"},
	} {
		if name == "one of several" {
			// Only some time after the operator's start does an empty conversation prove that a key is unused.
			g.post("/query/SendSingleMessage?wait=0", x.hello("some"))
			x.Eventually("a first message is not delivered", func() bool { return len(x.Rows()) == 1 })
		}
		a := g.post("/query/"+tc.endpoint+"?wait=3", tc.body)
		if *a.Code != tc.want || a.status != 200 || !strings.Contains(a.Detail, tc.detail) || !strings.Contains(a.Detail, "checks once more") || a.Message == "" {
			t.Errorf("%s: answered %+v, want code %d", name, a, tc.want)
		}
		for _, one := range a.Results {
			if (one.SessionID == int64(x.Alice)) != (one.Code == 0) || one.Code != 0 && one.Code != 4 {
				t.Errorf("%s: %+v", name, one)
			}
		}
	}
	for _, row := range x.Rows() {
		if row.Text != "some" || row.To != x.Alice {
			t.Errorf("the store holds %+v", row)
		}
	}
}
