// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/semver"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/assets"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

const testCRD = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.test.example}
spec:
  group: test.example
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`

func TestControlPlane(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	audit := filepath.Join(t.TempDir(), "audit.log")
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	noError(t, os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600))
	c, err := Start(t.Context(), Options{Log: t.Logf, APIServerFlags: map[string][]string{
		"audit-log-path": {audit}, "audit-policy-file": {policy},
	}})
	noError(t, err)
	stop := sync.OnceFunc(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	defer stop()

	t.Run("its version is stamped", func(t *testing.T) {
		d, err := discovery.NewDiscoveryClientForConfig(c.Config())
		noError(t, err)
		got, err := d.ServerVersion()
		noError(t, err)
		dir, err := assets.ControlPlane(t.Context(), t.Logf)
		noError(t, err)
		// The folder may have the version in its name. An unstamped kube-apiserver reports v0.0.0.
		want := semver.MajorMinor(got.GitVersion)
		if version := regexp.MustCompile(`\d+\.\d+`).FindString(filepath.Base(dir)); version != "" {
			want = "v" + version
		}
		if got.Major == "0" || semver.MajorMinor(got.GitVersion) != want || "v"+got.Major+"."+got.Minor != want {
			t.Errorf("version %+v, want %s", got, want)
		}
	})
	t.Run("its admin may create a namespace", func(t *testing.T) {
		kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
		noError(t, c.WriteKubeconfig(kubeconfig))
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		noError(t, err)
		for name, config := range map[string]*rest.Config{"config": c.Config(), "kubeconfig": config} {
			if err := createNamespace(t, config, name); err != nil {
				t.Errorf("by %s: %v", name, err)
			}
		}
	})
	t.Run("a user without a role may not", func(t *testing.T) {
		config, err := c.User("outsider", "some-group")
		noError(t, err)
		if err := createNamespace(t, config, "user"); !apierrors.IsForbidden(err) {
			t.Errorf("error %v, want that it is forbidden", err)
		}
	})
	t.Run("CRDs are served once installed", func(t *testing.T) {
		dir := t.TempDir()
		if err := c.InstallCRDs(dir); err == nil || !strings.Contains(err.Error(), "no file with a CustomResourceDefinition") {
			t.Errorf("from an empty folder: %v", err)
		}
		noError(t, os.WriteFile(filepath.Join(dir, "things.yaml"), []byte(testCRD), 0o600))
		noError(t, c.InstallCRDs(dir))
		things := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "test.example/v1", Kind: "ThingList"}}
		if err := newClient(t, c.Config()).List(t.Context(), things); err != nil {
			t.Error(err)
		}
	})

	watch, err := watchNamespaces(t, c.Config())
	noError(t, err)
	defer watch.Stop()
	begin := time.Now()
	stop()
	if took := time.Since(begin); took > stopTimeout/2 {
		t.Errorf("stopping took %s while a watch was open", took)
	}
	if entries, err := os.ReadDir(temp); err != nil || len(entries) > 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
	if data, err := os.ReadFile(audit); err != nil || !strings.Contains(string(data), `"resource":"namespaces"`) {
		t.Errorf("no namespace in the audit log: %v", err)
	}
}

func TestStartReportsReason(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	_, err := Start(t.Context(), Options{Log: t.Logf, APIServerFlags: map[string][]string{"no-such-flag": {"x"}}})
	if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
	if entries, err := os.ReadDir(temp); err != nil || len(entries) > 0 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

func TestStartIsInterruptible(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The programs print their first line early in the start.
	_, err := Start(ctx, Options{Log: t.Logf, Output: &gobuild.Lines{Take: func(string) { cancel() }}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
}

func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{})
	noError(t, err)
	return c
}

func watchNamespaces(t *testing.T, config *rest.Config) (watch.Interface, error) {
	t.Helper()
	c, err := client.NewWithWatch(config, client.Options{})
	if err != nil {
		return nil, err
	}
	return c.Watch(t.Context(), &corev1.NamespaceList{})
}

func createNamespace(t *testing.T, config *rest.Config, name string) error {
	t.Helper()
	return newClient(t, config).Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
}
