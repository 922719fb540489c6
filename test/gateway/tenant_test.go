// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tenant is a framework.Tenant with what the tests of this package do to it.
type tenant struct{ *framework.Tenant }

func newTenant(t testing.TB, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	return newTenantIn(t, world.TeamTalk, edits...)
}

func newTenantIn(t testing.TB, teamtalk *devserver.Server, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	x := &tenant{world.NewTenant(t, teamtalk)}
	x.GrantOperator()
	x.CreateServer(edits...)
	return x
}

// newTenantWithTeamTalk has a TeamTalk whose faults affect no other test.
func newTenantWithTeamTalk(t testing.TB, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	return newTenantIn(t, framework.TeamTalkFor(t), edits...)
}

// grantCluster binds a ClusterRole to a user in all namespaces.
func (x *tenant) grantCluster(user, role string) {
	x.Helper()
	x.Create(&rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user + "-" + strings.ReplaceAll(role, ":", "-")}, Subjects: framework.Users(user),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	})
}

// gateway is a gateway's process.
type gateway struct {
	t       testing.TB
	process *framework.Process
	log     *framework.Log
	url     string
	metrics string
}

// sidecar starts a gateway for the tenant's namespace, as a sidecar runs it: without
// authentication, and with no more rights than to create messages there.
func (x *tenant) sidecar(args ...string) *gateway {
	x.Helper()
	user := "gateway-" + x.Namespace
	x.Grant(user, "teamtalk-gateway")
	return x.gatewayAs(user, append([]string{"--auth", "None"}, args...)...)
}

// gatewayAs starts a gateway with the rights of a user, and returns once it is ready.
func (x *tenant) gatewayAs(user string, args ...string) *gateway {
	x.Helper()
	kubeconfig, err := world.KubeconfigOf(user)
	x.Must(err)
	return x.serve("--bind-address", append([]string{
		"gateway", "--kubeconfig", kubeconfig, "--namespace", x.Namespace, "--health-probe-bind-address", "0", "--log-level", "debug",
	}, args...))
}

// serve starts a process that serves the gateway at the address of a flag, and returns
// once it is ready.
func (x *tenant) serve(addressFlag string, args []string) *gateway {
	x.Helper()
	addresses, err := framework.FreeAddresses(2)
	x.Must(err)
	g := &gateway{t: x.TB, log: &framework.Log{}, url: "http://" + addresses[0], metrics: "http://" + addresses[1] + "/metrics"}
	g.process, err = framework.Start(world.Binary, io.MultiWriter(g.log, &world.Log),
		append(args, addressFlag, addresses[0], "--metrics-bind-address", addresses[1])...)
	x.Must(err)
	x.Cleanup(func() {
		g.keepMetrics()
		g.process.Kill()
	})
	ready := g.process.AwaitOK(x.Context(), g.url+"/readyz")
	if err := errors.Join(ready, g.process.AwaitListening(x.Context(), addresses[1])); err != nil {
		x.Fatalf("%v\n%s", err, g.log.String())
	}
	return g
}

// keepMetrics keeps what the gateway shows at the end, if it still runs.
func (g *gateway) keepMetrics() {
	r, err := http.Get(g.metrics)
	if err != nil {
		return
	}
	defer r.Body.Close()
	_, _ = io.Copy(&metrics, r.Body)
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

// httpClient fails a request after a time by which the gateway counts as hung.
var httpClient = &http.Client{Timeout: 20 * time.Second}

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
	response, err := httpClient.Do(r)
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
