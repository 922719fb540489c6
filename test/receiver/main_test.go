// SPDX-License-Identifier: Apache-2.0

// Package receiver tests TeamTalkReceivers with nothing faked: a real
// kube-apiserver and etcd, the operator and what serves receivers as processes of
// their own with the rights of their roles, teamtalk-dev, and Alertmanager.
package receiver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/apiproxy"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// world is what all tests of this package share. Each has a tenant of its own.
var world struct {
	*framework.Cluster
	// gatewayConfig is the kubeconfig of a gateway.
	gatewayConfig string
	// shared is where a gateway listens that no test ends, metrics where it serves those.
	shared, metrics string
}

// What the tests send or authenticate with. The programs must not show it anywhere.
const (
	secretText  = "the vault is open"
	secretToken = "swordfish-4711"
)

// gatewayUser is the gateway's user at the API server.
const gatewayUser = "gateway"

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 6, Outputs: readMetrics,
		Setup: func(ctx context.Context, c *framework.Cluster) error {
			return framework.Try(func() { setup(ctx, c) })
		},
		Secrets: map[string]string{"a text": secretText, "a token": secretToken},
		Health:  []string{"TeamTalkReceiver"},
	}.RunTests(m)
}

func setup(ctx context.Context, c *framework.Cluster) {
	world.Cluster = c
	framework.Must(c.StartLeader())
	framework.Must(framework.BindGateway(ctx, c.Admin, gatewayUser))
	world.gatewayConfig = framework.MustGet(c.KubeconfigOf(gatewayUser))
	addresses := framework.MustGet(framework.FreeAddresses(2))
	world.shared, world.metrics = addresses[0], addresses[1]
	gateway := framework.MustGet(startGateway(world.shared, "--metrics-bind-address", world.metrics))
	c.Cleanup(gateway.Kill)
	framework.Must(gateway.AwaitListening(ctx, world.shared))
	framework.Must(gateway.AwaitListening(ctx, world.metrics))
}

// readMetrics returns what the shared gateway exposes.
func readMetrics(ctx context.Context) (map[string]string, error) {
	_, text, err := framework.Ask(ctx, http.DefaultClient, http.MethodGet, "http://"+world.metrics+"/metrics", "")
	if err != nil || !strings.Contains(text, "teamtalk_gateway_") {
		return nil, fmt.Errorf("read the gateway's metrics: %q, %w", text, err)
	}
	return map[string]string{"metrics": text}, nil
}

// startGateway starts a gateway that logs all that it can. Later arguments win.
func startGateway(address string, args ...string) (*framework.Process, error) {
	return framework.Start(world.Binary, &world.Log, append([]string{
		"gateway", "--kubeconfig", world.gatewayConfig, "--bind-address", address, "--health-probe-bind-address", "0",
		"--namespace", "default", "--log-format", "text", "--log-level", "debug",
	}, args...)...)
}

type receiverEdit = func(*v1alpha1.TeamTalkReceiver)

// tenant is a framework.Tenant with what the tests of this package do to it.
type tenant struct{ *framework.Tenant }

// newTenant is a tenant with a server, and with the callers' token in a Secret.
func newTenant(t testing.TB) *tenant {
	t.Helper()
	x := &tenant{world.NewTenant(t, world.TeamTalk)}
	x.GrantOperator()
	x.CreateServer()
	x.CreateSecret("caller", map[string]string{"token": secretToken, "username": "caller", "password": secretToken})
	return x
}

// newReceiver is a receiver of alerts to Alice, whose callers present the tenant's token.
func (x *tenant) newReceiver(name string, edits ...receiverEdit) *v1alpha1.TeamTalkReceiver {
	r := &v1alpha1.TeamTalkReceiver{
		ObjectMeta: x.Named(name),
		Spec: v1alpha1.TeamTalkReceiverSpec{
			Type:           v1alpha1.ReceiverAlertmanager,
			To:             v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}},
			Authentication: &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "caller"}},
		},
	}
	for _, edit := range edits {
		edit(r)
	}
	return r
}

// receiver creates a receiver.
func (x *tenant) receiver(name string, edits ...receiverEdit) *v1alpha1.TeamTalkReceiver {
	x.Helper()
	r := x.newReceiver(name, edits...)
	x.Create(r)
	return r
}

// url is where a receiver is served at an address.
func (x *tenant) url(address, name string) string {
	return fmt.Sprintf("http://%s/v1/receivers/%s/%s", address, x.Namespace, name)
}

// awaitReceiver waits until a receiver is as wanted, and returns it.
func (x *tenant) awaitReceiver(name string, is func(*v1alpha1.TeamTalkReceiver) bool) *v1alpha1.TeamTalkReceiver {
	x.Helper()
	return framework.AwaitObject(x.Tenant, &v1alpha1.TeamTalkReceiver{ObjectMeta: x.Named(name)}, "as wanted", is)
}

// notify posts an alert that fires to a receiver of the shared gateway.
func (x *tenant) notify(receiver, alert string) reply {
	x.Helper()
	return x.post(x.url(world.shared, receiver), firing(alert))
}

// reply is the answer to a caller.
type reply struct {
	Code       int `json:"-"`
	Messages   []string
	Duplicates int
	Suppressed int
	Filtered   int
	Error      string
	// ErrMsg is the error in the form of DingTalk and WeCom.
	ErrMsg string

	header http.Header
}

// post posts a body with the tenant's token, or the headers that are given.
func (x *tenant) post(url, body string, headers ...string) reply {
	x.Helper()
	r, err := x.tryPost(url, body, headers...)
	x.Must(err)
	return r
}

func (x *tenant) tryPost(url, body string, headers ...string) (reply, error) {
	if len(headers) == 0 {
		headers = []string{"Authorization", "Bearer " + secretToken}
	}
	answer, text, err := framework.Ask(x.Context(), http.DefaultClient, http.MethodPost, url, body, headers...)
	if err != nil {
		return reply{}, err
	}
	r := reply{Code: answer.StatusCode, header: answer.Header}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return reply{}, fmt.Errorf("answered with %q: %w", text, err)
	}
	return r, nil
}

// awaitMessage posts a body until it becomes one message.
func (x *tenant) awaitMessage(url, body string) (last reply) {
	x.Helper()
	x.EventuallySeen(func() string { return fmt.Sprintf("no message: %+v", last) }, func() bool {
		last = x.post(url, body)
		return last.Code == http.StatusOK && len(last.Messages) == 1
	})
	return last
}

// texts returns what the store holds from the tenant's sender to somebody.
func (x *tenant) texts(to uint32) []string {
	x.Helper()
	var texts []string
	for _, m := range x.RowsFrom(x.Bot) {
		if m.To == to {
			texts = append(texts, m.Text)
		}
	}
	return texts
}

// awaitTexts waits until somebody has so many texts, and fails if they are more.
func (x *tenant) awaitTexts(to uint32, count int) []string {
	x.Helper()
	var got []string
	x.EventuallySeen(func() string { return fmt.Sprintf("%d texts, want %d: %q", len(got), count, got) }, func() bool {
		got = x.texts(to)
		return len(got) >= count
	})
	if len(got) > count {
		x.Fatalf("%d texts, want %d: %q", len(got), count, got)
	}
	return got
}

// settled waits until all messages have finished, and returns how many there are.
func (x *tenant) settled() int {
	x.Helper()
	var count, left int
	x.EventuallySeen(func() string { return fmt.Sprintf("%d of %d messages have not finished", left, count) }, func() bool {
		count, left = 0, 0
		for _, m := range x.Messages() {
			count++
			if !m.Finished() {
				left++
			}
		}
		return left == 0
	})
	return count
}

// alert is one alert of a notification, as JSON.
func alert(name, status, startsAt string, more ...string) string {
	labels := map[string]string{"alertname": name, "severity": "critical"}
	for i := 0; i+1 < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	b, _ := json.Marshal(map[string]any{ // maps of texts marshal
		"status": status, "labels": labels, "annotations": map[string]string{"summary": name + " is wrong"},
		"startsAt": startsAt, "endsAt": "0001-01-01T00:00:00Z", "fingerprint": name + fmt.Sprint(more),
	})
	return string(b)
}

// notification is what Alertmanager would post, with these alerts.
func notification(status string, alerts ...string) string {
	return fmt.Sprintf(`{"version":"4","groupKey":"{}:{}","status":%q,"receiver":"team","externalURL":"http://am","alerts":[%s]}`,
		status, strings.Join(alerts, ","))
}

// firing is a notification of one alert that fires since noon.
func firing(name string, labels ...string) string {
	return notification("firing", alert(name, "firing", noon, labels...))
}

const noon = "2026-11-23T12:00:00Z"

// serving is a process of a test's own that serves receivers.
type serving struct {
	x       *tenant
	address string
	args    []string
	process *framework.Process
}

// serve starts one, which ends with the test.
func (x *tenant) serve(args ...string) *serving {
	x.Helper()
	address := x.freeAddress()
	s := &serving{x: x, address: address, args: args}
	s.start()
	x.Cleanup(func() { s.process.Kill() })
	return s
}

// start starts it, again at the same address, and waits until it listens.
func (s *serving) start() {
	s.x.Helper()
	var err error
	s.process, err = startGateway(s.address, s.args...)
	s.x.Must(err)
	s.x.Must(s.process.AwaitListening(s.x.Context(), s.address))
}

// throughProxy starts one behind an API server that fails on demand.
func (x *tenant) throughProxy(t testing.TB, args ...string) (*serving, *apiproxy.Proxy) {
	t.Helper()
	cfg, err := world.Plane.User(gatewayUser)
	x.Must(err)
	api, err := apiproxy.Start(cfg)
	x.Must(err)
	t.Cleanup(api.Stop)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	x.Must(framework.WriteKubeconfig(file, api.Config()))
	return x.serve(append(args, "--kubeconfig", file)...), api
}

// serveByOperator starts a replica of the operator that serves receivers in the tenant's namespace.
func (x *tenant) serveByOperator(t *testing.T) *serving {
	t.Helper()
	for _, role := range []string{"teamtalk-gateway", "teamtalk-operator-receiver"} {
		x.Grant(framework.OperatorUser, role)
	}
	address := x.freeAddress()
	s := &serving{x: x, address: address}
	var err error
	s.process, err = world.StartOperator("--gateway-bind-address", address, "--gateway-namespace", x.Namespace)
	x.Must(err)
	t.Cleanup(s.process.Kill)
	x.Must(s.process.AwaitListening(t.Context(), address))
	return s
}

func (x *tenant) freeAddress() string {
	x.Helper()
	addresses, err := framework.FreeAddresses(1)
	x.Must(err)
	return addresses[0]
}
