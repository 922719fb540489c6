package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// central starts a gateway that checks who its callers are, in the tenant's namespace.
func (x *tenant) central(args ...string) *gateway {
	x.t.Helper()
	user := "central-" + x.namespace
	x.grant(user, "teamtalk-gateway")
	subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	x.create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
	})
	root, err := framework.Root()
	x.must(err)
	roles, err := framework.Read(root + "/config/rbac/gateway_role.yaml")
	x.must(err)
	for _, o := range roles {
		if o.GetKind() == "Role" {
			o.SetNamespace(x.namespace)
			x.must(framework.Apply(x.t.Context(), world.Admin, o))
		}
	}
	x.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-app-keys", Namespace: x.namespace}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "teamtalk-gateway-app-keys"},
	})
	return x.gatewayAs(user, args...)
}

// token returns a token of a new service account of the tenant's.
func (x *tenant) token(account string, audiences ...string) string {
	x.t.Helper()
	token, err := framework.Token(x.t.Context(), world.Admin, x.namespace, account, audiences...)
	x.must(err)
	return token
}

// mayCreate lets a service account create messages in the tenant's namespace.
func (x *tenant) mayCreate(account string) {
	x.t.Helper()
	x.must(framework.LetCreateMessages(x.t.Context(), world.Admin, x.namespace, account))
}

func (x *tenant) hello(text string) string {
	return fmt.Sprintf(`{"from_user_id":%d,"session_id":%d,"msg":%q}`, x.bot, x.alice, text)
}

// TestTokens: Kubernetes decides who may send.
func TestTokens(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	elsewhere := newTenant(t)
	g := x.central()
	x.mayCreate("app")
	app, other, foreign := x.token("app"), x.token("other"), x.token("app", "somebody-else")
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
		"in another namespace":       {path: "/namespaces/" + elsewhere.namespace, headers: []string{"Authorization", "Bearer " + app}, want: 5, status: 403},
		"in none that exists":        {path: "/namespaces/nowhere", headers: []string{"Authorization", "Bearer " + app}, want: 5, status: 403},
		"with the right":             {headers: []string{"Authorization", "Bearer " + app}, want: 0, status: 200},
		"with the right, by path":    {path: "/namespaces/" + x.namespace, headers: []string{"authorization", "bearer " + app}, want: 0, status: 200},
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
	for _, row := range x.rows() {
		if tests[row.Text].want != 0 {
			t.Errorf("%q is stored", row.Text)
		}
	}
	if n := len(x.rows()) + len(elsewhere.rows()); n != 2 {
		t.Errorf("%d messages are stored, want 2", n)
	}
}

// TestAudience: tokens can be asked to be for the gateway, and nobody else.
func TestAudience(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.central("--token-audience", "teamtalk-gateway")
	x.mayCreate("app")
	if a := g.post("/query/SendSingleMessage", x.hello("for Kubernetes"), "Authorization", "Bearer "+x.token("app")); a.status != 401 {
		t.Errorf("a token for the API server: %+v", a)
	}
	if a := g.post("/query/SendSingleMessage", x.hello("for the gateway"), "Authorization", "Bearer "+x.token("app", "teamtalk-gateway")); *a.Code != 0 {
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
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk-app-keys", Namespace: x.namespace},
		StringData: map[string]string{
			"shop":    fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d]\n", secretAppKey, x.namespace, x.bot),
			"short":   fmt.Sprintf("appKey: short\nnamespace: %s\nsenders: [%d]\n", x.namespace, x.bot),
			"garbage": "{",
		},
	}
	x.create(secret)
	g := x.central("--app-keys-secret", "teamtalk-app-keys")
	send := func(key string, sender uint32, prefix string) answer {
		return g.post(prefix+"/query/SendSingleMessage",
			fmt.Sprintf(`{"app_key":%q,"req_user_id":%d,"from_user_id":%d,"session_id":%d,"msg":"keyed"}`, key, sender, sender, x.alice))
	}
	for name, tc := range map[string]struct {
		key    string
		sender uint32
		prefix string
		want   int
	}{
		"its own":           {secretAppKey, x.bot, "", 0},
		"unknown":           {"another-key-of-some-length", x.bot, "", 2},
		"none":              {"", x.bot, "", 2},
		"too short a one":   {"short", x.bot, "", 2},
		"another sender":    {secretAppKey, x.bob, "", 3},
		"another namespace": {secretAppKey, x.bot, "/namespaces/" + other.namespace, 3},
	} {
		if a := send(tc.key, tc.sender, tc.prefix); *a.Code != tc.want || a.status != 200 {
			t.Errorf("%s: answered %+v, want code %d", name, a, tc.want)
		}
	}
	const next = "the-next-key-of-some-length"
	secret.StringData = map[string]string{"shop": fmt.Sprintf("appKey: %s\nnamespace: %s\nsenders: [%d]\n", next, x.namespace, x.bot)}
	x.must(world.Admin.Update(t.Context(), secret))
	x.eventually("the new key is not taken", func() bool { return *send(next, x.bot, "").Code == 0 })
	if a := send(secretAppKey, x.bot, ""); *a.Code != 2 {
		t.Errorf("the old key: %+v", a)
	}
	if rows := x.rows(); len(rows) != 2 {
		t.Errorf("the store holds %d messages, want 2", len(rows))
	}
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
		case <-time.After(patience):
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
	response, err := hang.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
