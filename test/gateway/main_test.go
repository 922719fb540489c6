// SPDX-License-Identifier: Apache-2.0

// Package gateway tests the HTTP gateway with nothing faked: a real kube-apiserver
// and etcd, the operator and the gateway as processes with the rights of their
// roles, and teamtalk-dev.
package gateway

import (
	"context"
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

// world is what all tests of this package share.
var world *framework.Cluster

// metrics are those of every gateway, as it ends.
var metrics framework.Log

// What the tests send or authenticate with. The programs must not show it anywhere.
const (
	secretText   = "Code freeze starts Monday"
	secretAppKey = "an-app-key-of-some-length"
)

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 4, // callers wait for a limited time: a busy machine must not use it up
		Setup: func(ctx context.Context, c *framework.Cluster) error {
			world = c
			if err := framework.ApplyRoles(ctx, c.Admin, "default", "gateway_role.yaml"); err != nil {
				return err
			}
			return c.StartLeader()
		},
		Secrets: map[string]string{"a message's text": secretText, "an app key": secretAppKey},
		Outputs: func(context.Context) (map[string]string, error) {
			if metrics.String() == "" || !strings.Contains(world.Log.String(), `"msg":"listening"`) {
				return nil, errors.New("no gateway has logged or shown metrics")
			}
			return map[string]string{"gateways' metrics": metrics.String()}, nil
		},
	}.RunTests(m)
}

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
		"--wait", "8s", // the longest there is: a busy machine must not use it up
	}, args...))
}

// serve starts a process that serves the gateway at the address of a flag, and waits until it is ready.
func (x *tenant) serve(addressFlag string, args []string) *gateway {
	x.Helper()
	addresses, err := framework.FreeAddresses(2)
	x.Must(err)
	g := &gateway{t: x.TB, log: &framework.Log{}, url: "http://" + addresses[0], metrics: "http://" + addresses[1] + "/metrics"}
	g.process, err = framework.Start(world.Binary, io.MultiWriter(g.log, &world.Log),
		append(args, addressFlag, addresses[0], "--metrics-bind-address", addresses[1])...)
	x.Must(err)
	x.Cleanup(func() {
		_, _ = io.WriteString(&metrics, g.getMetrics())
		g.process.Kill()
	})
	ready := g.process.AwaitOK(x.Context(), g.url+"/readyz")
	if err := errors.Join(ready, g.process.AwaitListening(x.Context(), addresses[1])); err != nil {
		x.Fatalf("%v\n%s", err, g.log.String())
	}
	return g
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
var httpClient = &http.Client{Timeout: framework.Timeout}

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
	begin := time.Now()
	response, text, err := framework.Ask(context.Background(), httpClient, http.MethodPost, g.url+path, body, headers...)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header, took: time.Since(begin)}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return a, fmt.Errorf("status %d, %q is no JSON: %w", a.status, text, err)
	}
	if a.Code == nil {
		return a, fmt.Errorf("status %d, no error_code in %q", a.status, text)
	}
	return a, nil
}

// postAside posts a body while the test goes on.
func (g *gateway) postAside(path, body string, headers ...string) <-chan answer {
	answered := make(chan answer, 1)
	go func() {
		a, err := g.try(path, body, headers...)
		if err != nil {
			g.t.Errorf("POST %s: %v", path, err)
			a.Code = new(-1)
		}
		answered <- a
	}()
	return answered
}

// getMetrics returns what the gateway shows, or nothing.
func (g *gateway) getMetrics() string {
	_, text, _ := framework.Ask(context.Background(), httpClient, http.MethodGet, g.metrics, "")
	return text
}

// metric reports whether the gateway's metrics hold a line.
func (g *gateway) metric(line string) bool { return strings.Contains(g.getMetrics(), line+"\n") }
