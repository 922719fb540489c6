// SPDX-License-Identifier: Apache-2.0

// Package install tests the installation of the operator. It applies config/default and the
// chart, by helm itself, to a real kube-apiserver, and runs the operator with their roles and
// flags.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
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
	log.SetLogger(logr.Discard()) // of the clients that tests use
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

// cluster is the control plane of one test.
type cluster struct {
	*controlplane.ControlPlane
	admin      client.Client
	kubeconfig string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{Log: t.Logf})
	must(t, err)
	t.Cleanup(func() { _ = plane.Stop() })
	scheme := runtime.NewScheme()
	must(t, errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)))
	admin, err := client.New(plane.Config(), client.Options{Scheme: scheme})
	must(t, err)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, plane.WriteKubeconfig(kubeconfig))
	return &cluster{ControlPlane: plane, admin: admin, kubeconfig: kubeconfig}
}

// helm runs helm without the user's settings.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shared.helm, args...)
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, out, problem.String())
	}
	return string(out), err
}

func chartDir() string { return filepath.Join(shared.root, "charts", name) }

// template renders the chart as a release in namespace.
func template(t *testing.T, release string, args ...string) ([]*unstructured.Unstructured, error) {
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
