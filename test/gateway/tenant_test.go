package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// patience bounds every wait: generous, since a loaded machine is no failure.
const patience = 60 * time.Second

var tenants atomic.Int32

// tenant is one test's namespace, with a TeamTalkServer and users of its own.
type tenant struct {
	t         testing.TB
	teamtalk  *devserver.Server
	namespace string
	// bot is the sender; alice and bob receive. oncall has all of them as members,
	// closed has alice and bob alone.
	bot, alice, bob, oncall, closed uint32
}

func newTenant(t testing.TB, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	return newTenantOf(t, world.TeamTalk, edits...)
}

// newTenantOf is newTenant with a TeamTalk of its own, whose faults are no one else's.
func newTenantOf(t testing.TB, teamtalk *devserver.Server, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	n := uint32(tenants.Add(1))
	base := 1000 * n
	x := &tenant{
		t: t, teamtalk: teamtalk, namespace: fmt.Sprintf("tenant-%d", n),
		bot: base + 1, alice: base + 2, bob: base + 3, oncall: base + 1, closed: base + 2,
	}
	for _, id := range []uint32{x.bot, x.alice, x.bob} {
		x.must(teamtalk.AddUser(devserver.NewUser(id, fmt.Sprintf("nick%d", id), fmt.Sprintf("user%d", id))))
	}
	x.must(teamtalk.AddGroup(x.oncall, "oncall", x.bot, x.alice, x.bob))
	x.must(teamtalk.AddGroup(x.closed, "closed", x.alice, x.bob))
	x.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: x.namespace}})
	x.must(framework.GrantNamespace(t.Context(), world.Admin, framework.OperatorUser, x.namespace))
	x.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "teamtalk", Namespace: x.namespace},
		Data:       map[string][]byte{"aesKey": []byte(devserver.DevelopmentKey)},
	})
	lag := int32(1)
	s := &v1alpha1.TeamTalkServer{
		ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: x.namespace},
		Spec: v1alpha1.TeamTalkServerSpec{
			DBProxy:         v1alpha1.DBProxySpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(x.teamtalk.DBProxyAddr())}},
			Router:          v1alpha1.RouterSpec{Endpoints: []v1alpha1.Endpoint{v1alpha1.Endpoint(x.teamtalk.RouterAddr())}},
			AESKeySecretRef: v1alpha1.SecretKeyRef{Name: "teamtalk", Key: "aesKey"},
			Senders:         v1alpha1.SendersSpec{Default: v1alpha1.UserID(x.bot)},
			SettleSeconds:   1, MaxReplicaLagSeconds: &lag,
		},
	}
	for _, edit := range edits {
		edit(s)
	}
	x.create(s)
	return x
}

func (x *tenant) must(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *tenant) create(o client.Object) {
	x.t.Helper()
	x.must(world.Admin.Create(x.t.Context(), o))
}

// grant binds a ClusterRole to a user in the tenant's namespace.
func (x *tenant) grant(user, role string) {
	x.t.Helper()
	x.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + strings.ReplaceAll(role, ":", "-"), Namespace: x.namespace},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	})
}

// rows returns what the store holds from this tenant's bot.
func (x *tenant) rows() []devserver.StoredMessage {
	x.t.Helper()
	all, err := x.teamtalk.Messages(x.t.Context())
	x.must(err)
	var own []devserver.StoredMessage
	for _, m := range all {
		if m.From == x.bot {
			own = append(own, m)
		}
	}
	return own
}

// recorded returns the tenant's messages.
func (x *tenant) recorded() []v1alpha1.TeamTalkMessage {
	x.t.Helper()
	list := &v1alpha1.TeamTalkMessageList{}
	x.must(world.Admin.List(x.t.Context(), list, client.InNamespace(x.namespace)))
	return list.Items
}

// eventually waits for a condition.
func (x *tenant) eventually(what string, condition func() bool) {
	x.t.Helper()
	err := wait.PollUntilContextTimeout(x.t.Context(), 20*time.Millisecond, patience, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		x.t.Fatalf("%v: %s", err, what)
	}
}

// gateway is a gateway's process.
type gateway struct {
	t       testing.TB
	process *framework.Process
	log     *framework.Log
	url     string
	metrics string
}

var listening = regexp.MustCompile(`"msg":"listening","address":"([^"]+)"`)

// freeAddress returns a loopback address that nobody listens at now.
func (x *tenant) freeAddress() string {
	x.t.Helper()
	addresses, err := framework.FreeAddresses(1)
	x.must(err)
	return addresses[0]
}

// sidecar starts a gateway for the tenant's namespace, as a sidecar runs it: without
// authentication, and with no more rights than to put messages on record there.
func (x *tenant) sidecar(args ...string) *gateway {
	x.t.Helper()
	user := "gateway-" + x.namespace
	x.grant(user, "teamtalk-gateway")
	return x.gatewayAs(user, append([]string{"--auth", "None"}, args...)...)
}

// gatewayAs starts a gateway with the rights of a user, and returns once it is ready.
func (x *tenant) gatewayAs(user string, args ...string) *gateway {
	x.t.Helper()
	kubeconfig, err := world.KubeconfigOf(user)
	x.must(err)
	return x.serving(append([]string{
		"gateway", "--kubeconfig", kubeconfig, "--namespace", x.namespace, "--bind-address", "127.0.0.1:0", "--health-probe-bind-address", "0",
	}, args...))
}

// serving starts a process that serves the gateway, and returns once it is ready.
func (x *tenant) serving(args []string) *gateway {
	x.t.Helper()
	metrics := x.freeAddress()
	g := &gateway{t: x.t, log: &framework.Log{}, metrics: "http://" + metrics}
	var err error
	g.process, err = framework.Start(world.Binary, io.MultiWriter(g.log, &world.logs), append(args, "--metrics-bind-address", metrics, "--log-level", "debug")...) // leaks looks at all that may be logged
	x.must(err)
	x.t.Cleanup(func() {
		g.keepMetrics()
		g.process.Kill()
	})
	x.eventually("the gateway does not listen:\n"+g.log.String(), func() bool {
		if m := listening.FindStringSubmatch(g.log.String()); m != nil {
			g.url = "http://" + m[1]
		}
		select {
		case <-g.process.Ended():
			x.t.Fatalf("the gateway has ended: %v\n%s", g.process.Err(), g.log.String())
		default:
		}
		return g.url != ""
	})
	x.eventually("the gateway does not become ready", func() bool {
		r, err := http.Get(g.url + "/readyz")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return g
}

// keepMetrics keeps what the gateway shows at the end, if it still runs.
func (g *gateway) keepMetrics() {
	r, err := http.Get(g.metrics + "/metrics")
	if err != nil {
		return
	}
	defer r.Body.Close()
	_, _ = io.Copy(&world.metrics, r.Body)
}

// answer is what the gateway says.
type answer struct {
	Code    *int   `json:"error_code"`
	Text    string `json:"error_msg"`
	Detail  string `json:"error_detail"`
	MsgID   int64  `json:"msg_id"`
	GroupID int64  `json:"group_id"`
	Message string `json:"message"`
	Results []struct {
		SessionID int64  `json:"session_id"`
		Code      int    `json:"error_code"`
		Detail    string `json:"error_detail"`
		MsgID     int64  `json:"msg_id"`
	} `json:"results"`

	status int
	header http.Header
	took   time.Duration
}

// hang is how long a request may take before the gateway counts as hung.
var hang = &http.Client{Timeout: 20 * time.Second}

// post posts a body; headers are name, value, name, value.
func (g *gateway) post(path, body string, headers ...string) answer {
	g.t.Helper()
	a, err := g.try(path, body, headers...)
	if err != nil {
		g.t.Fatalf("POST %s: %v", path, err)
	}
	return a
}

func (g *gateway) try(path, body string, headers ...string) (answer, error) {
	r, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	begin := time.Now()
	response, err := hang.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header, took: time.Since(begin)}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&a); err != nil {
		return a, fmt.Errorf("status %d, %q is no JSON: %w", a.status, b, err)
	}
	if a.Code == nil {
		return a, fmt.Errorf("status %d, no error_code in %q", a.status, b)
	}
	return a, nil
}
