// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// central starts a gateway that checks who its callers are, in the tenant's namespace.
func (x *tenant) central(args ...string) *gateway {
	x.Helper()
	user := "central-" + x.Namespace
	x.Grant(user, "teamtalk-gateway")
	x.grantCluster(user, "system:auth-delegator")
	roles, err := framework.Read(filepath.Join(world.Root, "config", "rbac", "gateway_role.yaml"))
	x.Must(err)
	for _, o := range roles {
		if o.GetKind() == "Role" {
			o.SetNamespace(x.Namespace)
			x.Must(framework.Apply(x.Context(), world.Admin, o))
		}
	}
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
				if status := g.status(tc.path+"/query/SendSingleMessage", x.hello(name), tc.headers...); status != tc.status {
					t.Errorf("status %d, want %d", status, tc.status)
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

// TestAppKeys: who can send no more than an app_key is known by a Secret, which may
// change at any time.
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
		select {
		case <-p.Ended():
		case <-time.After(framework.Timeout):
			p.Kill()
		}
		if p.Err() == nil || !strings.Contains(log.String(), "loopback") || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%s: ended with %v and said: %s", address, p.Err(), log.String())
		}
	}
}

// status posts, and returns the HTTP status alone.
func (g *gateway) status(path, body string, headers ...string) int {
	g.t.Helper()
	r, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	r.Host = r.Header.Get("Host")
	response, err := httpClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
