// SPDX-License-Identifier: Apache-2.0

// Package install tests the installation of the operator. It applies config/default and the
// chart, by helm itself, to a real kube-apiserver, and runs the operator with their roles and
// flags.
package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

const (
	// namespace and name of the operator and of the release.
	namespace = "teamtalk-system"
	name      = "teamtalk-operator"
)

// shared is what all tests of this package use.
var shared struct{ root, helm string }

func TestMain(m *testing.M) {
	framework.DiscardLogs()
	var err error
	if shared.root, err = framework.Root(); err == nil {
		shared.helm, err = framework.Tool(context.Background(), "helm", "helm")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// cluster is the control plane of one test, and a tenant in the operator's namespace there.
type cluster struct {
	*framework.Tenant
	plane      *controlplane.ControlPlane
	kubeconfig string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	plane, admin, err := framework.StartEmptyPlane(t.Context(), controlplane.Options{Log: t.Logf})
	must(t, err)
	t.Cleanup(func() { _ = plane.Stop() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, plane.WriteKubeconfig(kubeconfig))
	tenant := &framework.Tenant{
		TB: t, Cluster: &framework.Cluster{Admin: admin}, Namespace: namespace, Bot: 1, Mate: 2, Alice: 3, Timeout: framework.Timeout,
	}
	return &cluster{Tenant: tenant, plane: plane, kubeconfig: kubeconfig}
}

// in returns the cluster for a subtest.
func (c *cluster) in(t *testing.T) *cluster {
	tenant := *c.Tenant
	tenant.TB = t
	return &cluster{Tenant: &tenant, plane: c.plane, kubeconfig: c.kubeconfig}
}

// apply applies objects in the order of "kubectl apply".
func (c *cluster) apply(objects ...*unstructured.Unstructured) {
	c.Helper()
	c.Must(framework.Apply(c.Context(), c.Cluster.Admin, objects...))
}

func (c *cluster) createNamespace(name string) {
	c.Helper()
	c.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

// helm runs helm without the user's settings.
func helm(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return framework.RunHelm(t.Context(), shared.helm, t.TempDir(), args...)
}

func chartDir() string { return filepath.Join(shared.root, "charts", name) }

// template renders the chart as a release in namespace.
func template(t testing.TB, release string, args ...string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	out, err := helm(t, append([]string{"template", release, chartDir(), "--namespace", namespace}, args...)...)
	if err != nil {
		return nil, err
	}
	return framework.Decode([]byte(out))
}

// findObject returns an object, or fails the test if there is none.
func findObject(t *testing.T, objects []*unstructured.Unstructured, kind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == kind && o.GetName() == name && o.GetNamespace() == namespace {
			return o
		}
	}
	t.Fatalf("there is no %s %s/%s", kind, namespace, name)
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
