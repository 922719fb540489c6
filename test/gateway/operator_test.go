// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// servingOperator starts a replica of the operator that serves the gateway, too.
func (x *tenant) servingOperator(args ...string) *gateway {
	x.Helper()
	x.Grant(framework.OperatorUser, "teamtalk-gateway")
	args, err := world.OperatorArgs(append([]string{
		"--log-format", "json", "--metrics-secure=false", "--gateway-namespace", x.Namespace, "--gateway-wait", "8s",
	}, args...)...)
	x.Must(err)
	return x.serve("--gateway-bind-address", args)
}

// TestOperatorServes: a replica of the operator serves as a standby, as the leader, and while it shuts down.
func TestOperatorServes(t *testing.T) {
	x, stuck := newTenant(t), newTenant(t, framework.Unreachable)
	g := x.servingOperator("--gateway-auth", "None")
	stuck.Grant(framework.OperatorUser, "teamtalk-gateway")
	if a := g.post("/query/SendSingleMessage", x.hello("by a standby")); *a.Code != 0 || a.MsgID == 0 || a.Message == "" {
		t.Errorf("a standby: %+v", a)
	}
	if a := g.post("/query/CreateGroup", `{"req_user_id":1,"group_name":"x","user_id_list":[1]}`); *a.Code != 11 {
		t.Errorf("groups: %+v", a)
	}
	x.StopLeader()
	defer x.StartLeader()
	// The standby takes over, and sends what it has recorded itself.
	x.Eventually("the new leader does not send", func() bool {
		a := g.post("/query/SendSingleMessage", x.hello("by the leader"), "Idempotency-Key", "leader")
		if *a.Code != 0 && *a.Code != 8 && *a.Code != 10 {
			t.Fatalf("the new leader: %+v", a)
		}
		return *a.Code == 0
	})
	answered := g.postAside("/namespaces/"+stuck.Namespace+"/query/SendSingleMessage", stuck.hello("in flight"))
	x.Eventually("the request is not recorded", func() bool { return len(stuck.Messages()) == 1 })
	x.Must(g.process.Signal(syscall.SIGTERM))
	if a := <-answered; *a.Code != 8 || a.Message == "" {
		t.Errorf("in flight: %+v", a)
	}
	err := g.process.AwaitEnd(t)
	if log := g.log.String(); err != nil || !strings.Contains(log, `"drained"`) {
		t.Errorf("ended with %v:\n%s", err, log)
	}
	x.CheckRows(2)
}

// TestOperatorAsks: the operator's gateway asks Kubernetes about callers, with no more rights.
func TestOperatorAsks(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	g := x.servingOperator()
	x.AllowCreate("app")
	for token, want := range map[string]int{"": 401, "nonsense": 401, x.Token("other"): 403, x.Token("app"): 200} {
		if a := g.post("/query/SendSingleMessage?wait=8", x.hello("asked"), "Authorization", "Bearer "+token); a.status != want {
			t.Errorf("answered %+v, want %d", a, want)
		}
	}
	x.CheckRows(1)
}

// TestSamples: the API server accepts the samples, and the gateway accepts their flags.
func TestSamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(world.Root, "config", "samples", "gateway", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	x := newTenant(t)
	x.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "chat"}})
	started := 0
	for _, file := range files {
		objects, err := framework.Read(file)
		x.Must(err)
		for _, o := range objects {
			// Applying is strict: what the API does not know is an error.
			config := client.ApplyConfigurationFromUnstructured(o)
			if err := world.Admin.Apply(t.Context(), config, client.FieldOwner("test"), client.DryRunAll); err != nil {
				t.Errorf("%s: %s %s: %v", filepath.Base(file), o.GetKind(), o.GetName(), err)
			}
			for _, args := range gatewayArgs(o) {
				started++
				// Flags come before the cluster, which is not there.
				c := exec.Command(world.Binary, append(args, "--kubeconfig", "/nonexistent")...)
				out, err := c.CombinedOutput()
				if err == nil || c.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "/nonexistent") {
					t.Errorf("%s: %v said %s", filepath.Base(file), args, out)
				}
			}
		}
	}
	if started != 2 {
		t.Errorf("%d gateways are in the samples, want 2", started)
	}
}

// gatewayArgs returns the arguments of each gateway in a Deployment.
func gatewayArgs(o *unstructured.Unstructured) [][]string {
	var found [][]string
	for _, kind := range []string{"initContainers", "containers"} {
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", kind)
		for _, c := range containers {
			if args, _, _ := unstructured.NestedStringSlice(c.(map[string]any), "args"); len(args) > 0 && args[0] == "gateway" {
				found = append(found, args)
			}
		}
	}
	return found
}
