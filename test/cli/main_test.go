// SPDX-License-Identifier: Apache-2.0

// Package cli tests the binary of kubectl-teamtalk with nothing faked: a real kube-apiserver and etcd, the operator and
// a gateway as processes with the rights of their roles, and teamtalk-dev.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// Users of the cluster.
const (
	// owner may do everything.
	owner = "owner"
	// member may create and read messages of its tenant, and see its servers and receivers.
	member      = "member"
	gatewayUser = "gateway"
)

// secretToken authenticates callers of receivers.
const secretToken = "swordfish-4711"

// world is the state that all tests of this package share.
var world struct {
	*framework.Cluster
	// plugin is the binary.
	plugin string
	// kubeconfigs are the files of users.
	kubeconfigs map[string]string
	// gateway is where a gateway listens.
	gateway string
}

func TestMain(m *testing.M) {
	framework.Suite{
		Parallel: 8,
		Setup: func(ctx context.Context, c *framework.Cluster) error {
			return framework.Try(func() { setup(ctx, c) })
		},
		Secrets: map[string]string{"a token": secretToken},
	}.RunTests(m)
}

func setup(ctx context.Context, c *framework.Cluster) {
	world.Cluster = c
	world.plugin = framework.MustGet(framework.BuildCached(ctx, "kubectl-teamtalk"))
	framework.Must(c.StartLeader())
	framework.Must(framework.ApplyRoles(ctx, c.Admin, "default", "teamtalkmessage_roles.yaml", "teamtalkserver_roles.yaml",
		"teamtalkreceiver_roles.yaml"))
	framework.Must(framework.BindGateway(ctx, c.Admin, gatewayUser))
	framework.Must(c.Admin.Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: owner}, Subjects: framework.Users(owner),
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
	}))
	world.kubeconfigs = map[string]string{}
	for _, user := range []string{owner, member, gatewayUser} {
		world.kubeconfigs[user] = framework.MustGet(c.KubeconfigOf(user))
	}
	addresses := framework.MustGet(framework.FreeAddresses(1))
	world.gateway = "http://" + addresses[0]
	gateway := framework.MustGet(framework.Start(c.Binary, &c.Log, "gateway", "--kubeconfig", world.kubeconfigs[gatewayUser],
		"--bind-address", addresses[0], "--health-probe-bind-address", "0", "--namespace", "default", "--log-format", "text"))
	c.Cleanup(gateway.Kill)
	framework.Must(gateway.AwaitOK(ctx, world.gateway+"/readyz"))
}

// tenant is a framework.Tenant whose users run the plugin.
type tenant struct {
	*framework.Tenant
	// home has the plugin's cache.
	home string
}

// newTenant is a tenant without a server.
func newTenant(t *testing.T) *tenant {
	t.Helper()
	return newTenantIn(t, world.TeamTalk)
}

func newTenantIn(t *testing.T, teamtalk *devserver.Server) *tenant {
	t.Helper()
	x := &tenant{Tenant: world.NewTenant(t, teamtalk), home: t.TempDir()}
	x.GrantOperator()
	for _, role := range []string{"teamtalkmessage-editor", "teamtalkserver-viewer", "teamtalkreceiver-viewer"} {
		x.Grant(member, "teamtalk-operator-"+role)
	}
	return x
}

// newTenantWithServer has a server that is ready.
func newTenantWithServer(t *testing.T, edits ...func(*v1alpha1.TeamTalkServer)) *tenant {
	t.Helper()
	x := newTenant(t)
	x.CreateServer(edits...)
	return x
}

// result is what a run of the plugin shows.
type result struct {
	t        testing.TB
	args     []string
	code     int
	out, err string
}

// run runs the plugin as the owner, in the tenant's namespace.
func (x *tenant) run(args ...string) *result {
	x.Helper()
	return x.runAs(owner, "", args...)
}

// runAs runs the plugin as a user, with a standard input.
func (x *tenant) runAs(user, stdin string, args ...string) *result {
	x.Helper()
	return runPlugin(x.TB, x.home, world.kubeconfigs[user], stdin, append(args, "-n", x.Namespace)...)
}

func runPlugin(t testing.TB, home, kubeconfig, stdin string, args ...string) *result {
	t.Helper()
	return runProgram(t, world.plugin, home, kubeconfig, stdin, args...)
}

func runProgram(t testing.TB, program, home, kubeconfig, stdin string, args ...string) *result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), framework.Timeout)
	defer cancel()
	var out, fault bytes.Buffer
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "HOME="+home, "KUBECONFIG="+kubeconfig)
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &out, &fault
	err := c.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	r := &result{t: t, args: args, code: c.ProcessState.ExitCode(), out: out.String(), err: fault.String()}
	if n := strings.Count(r.err, "error: "); n > 1 || n == 1 && !strings.HasSuffix(r.err, "\n") {
		t.Errorf("%q: the error is not one line: %s", args, r.err)
	}
	return r
}

// want checks the exit code, and that the outputs have texts.
func (r *result) want(code int, texts ...string) *result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("%q: exit code %d, want %d\nstdout: %s\nstderr: %s", r.args, r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.out+r.err, text) {
			r.t.Errorf("%q: %q is in neither\nstdout: %s\nstderr: %s", r.args, text, r.out, r.err)
		}
	}
	return r
}

// decode reads the standard output as JSON.
func (r *result) decode(into any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		r.t.Fatalf("%q: %v: %s", r.args, err, r.out)
	}
}

// writeFile writes a file for the plugin to read.
func (x *tenant) writeFile(name, text string) string {
	x.Helper()
	path := filepath.Join(x.home, name)
	x.Must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

// name is the login name of a user.
func name(id uint32) string { return fmt.Sprintf("user%d", id) }

// text formats an id.
func text(id uint32) string { return fmt.Sprint(id) }

// TestNoCluster: each way to have no TeamTalk resources is told from the others.
func TestNoCluster(t *testing.T) {
	t.Parallel()
	plane, _, err := framework.StartEmptyPlane(t.Context(), controlplane.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Stop() })
	dir := t.TempDir()
	kubeconfig := func(file, host string) string {
		config := plane.Config()
		if host != "" {
			config.Host = host
		}
		path := filepath.Join(dir, file)
		if err := framework.WriteKubeconfig(path, config); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty := kubeconfig("empty", "")
	for _, args := range [][]string{
		{"send", "--to-user", "2", "hello"}, {"status", "x"}, {"retry", "x"}, {"resend", "x"}, {"servers"}, {"doctor"},
		{"history", "--user", "2"}, {"users"}, {"groups"}, {"test", "receiver", "x", "-f", empty, "--dry-run"},
	} {
		runPlugin(t, dir, empty, "", args...).want(1, `the cluster of context "x" has no TeamTalk resources`, "install the operator")
	}
	runPlugin(t, dir, kubeconfig("down", "https://127.0.0.1:1"), "", "servers").want(1, "cannot be reached", "connection refused")
	runPlugin(t, dir, filepath.Join(dir, "none"), "", "servers").want(1, "there is no cluster to talk to", "KUBECONFIG")
	runPlugin(t, dir, empty, "", "servers", "--kubeconfig", filepath.Join(dir, "none")).want(1, "cannot be read", "correct --kubeconfig")
	distrusting := plane.Config()
	distrusting.CAData = world.Plane.Config().CAData
	untrusted := filepath.Join(dir, "untrusted")
	if err := framework.WriteKubeconfig(untrusted, distrusting); err != nil {
		t.Fatal(err)
	}
	// Nothing was sent, so nothing was created.
	runPlugin(t, dir, untrusted, "", "send", "--to-user", "2", "hello").want(1, "cannot be reached", "failed to verify certificate")
	runPlugin(t, dir, empty, "", "servers", "--context", "nowhere").want(1, `"nowhere"`)
}

// awaitTimeout is the timeout of commands that a test expects to time out.
const awaitTimeout = 3 * time.Second
