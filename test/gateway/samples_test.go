// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestSamples: the API server takes them as they are, and the gateway takes the flags
// in them.
func TestSamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(world.Root, "config", "samples", "gateway", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "chat"}}
	if err := world.Admin.Create(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, file := range files {
		objects, err := framework.Read(file)
		if err != nil {
			t.Fatal(err)
		}
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
