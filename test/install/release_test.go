// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestRelease installs, upgrades, rolls back, uninstalls and installs again, also with Helm 3. Messages are kept.
func TestRelease(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	run := func(args ...string) {
		t.Helper()
		c.Must(c.release(namespace, args...))
	}
	olderChart := olderChart(t)
	run("install", name, olderChart, "--create-namespace")
	if !c.isOlder() {
		t.Fatal("the older chart's CRDs are not the older ones")
	}
	kept := c.keptMessage()

	c.createNamespace("chat")
	server := []string{
		"--set", "server.create=true,server.spec.dbProxy.endpoints={127.0.0.1:10600},server.spec.router.endpoints={127.0.0.1:8200}",
		"--set", "server.spec.aesKeySecretRef.name=teamtalk,server.spec.senders.default=1",
	}
	run(append([]string{"upgrade", name, chartDir(), "--set", "replicas=3,access.secrets.namespaces={chat}"}, server...)...)
	if c.isOlder() {
		t.Error("the upgrade left the CRDs as they were")
	}
	deployment := &appsv1.Deployment{ObjectMeta: c.Named(name)}
	c.Get(deployment)
	if *deployment.Spec.Replicas != 3 {
		t.Errorf("%d replicas after the upgrade", *deployment.Spec.Replicas)
	}
	c.Get(&v1alpha1.TeamTalkServer{ObjectMeta: c.Named(v1alpha1.DefaultServerName)})
	c.Get(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: name + "-secrets"}})
	kept("the upgrade")

	// A rollback brings the older CRDs. The way of the page keeps the newer ones, and allows an upgrade.
	run("rollback", name, "1")
	if !c.isOlder() {
		t.Error("the page warns of a rollback, which leaves the CRDs as they are")
	}
	kept("the rollback")
	run(append([]string{"upgrade", name, chartDir()}, server...)...)
	run("upgrade", name, olderChart, "--reuse-values", "--set", "crds.install=false")
	if c.isOlder() {
		t.Error("going back without CRDs has brought the older ones")
	}
	kept("going back")
	run("upgrade", name, chartDir(), "--reset-then-reuse-values", "--set", "crds.install=true")
	kept("the second upgrade")

	run("uninstall", name)
	kept("the uninstall")
	if err := c.Cluster.Admin.Get(t.Context(), client.ObjectKeyFromObject(deployment), deployment); !apierrors.IsNotFound(err) {
		t.Errorf("the uninstall left the Deployment: %v", err)
	}
	roles := &rbacv1.ClusterRoleList{}
	c.Must(c.Cluster.Admin.List(t.Context(), roles, client.MatchingLabels{"app.kubernetes.io/instance": name}))
	if len(roles.Items) > 0 {
		t.Errorf("the uninstall left %d ClusterRoles", len(roles.Items))
	}

	run(append([]string{"install", name, chartDir()}, server...)...)
	kept("the second install")
	run("uninstall", name)

	helm3, err := framework.Tool(t.Context(), "helm3", "helm")
	c.Must(err)
	for _, args := range [][]string{
		append([]string{"install", name, chartDir()}, server...),
		{"upgrade", name, chartDir(), "--reuse-values", "--set", "replicas=3"},
		{"rollback", name, "1"},
		{"uninstall", name},
	} {
		c.Must(c.releaseWith(helm3, namespace, args...))
		kept(args[0] + " with Helm 3")
	}
}

// TestExistingCRDs installs the chart where the CRDs are kubectl's or another release's.
func TestExistingCRDs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.Must(framework.InstallCRDs(t.Context(), c.Cluster.Admin, filepath.Join(olderChart(t), "files", "crds")))
	c.createNamespace(namespace)
	kept := c.keptMessage()
	refused := func(namespace string, args ...string) {
		t.Helper()
		if err := c.release(namespace, args...); err == nil || !strings.Contains(err.Error(), "ownership metadata") {
			t.Errorf("the page says that helm refuses CRDs which are not its own: %v", err)
		}
	}

	refused(namespace, "install", name, chartDir())
	c.Must(c.release(namespace, "install", name, chartDir(), "--set", "crds.install=false"))
	c.Must(c.release(namespace, "uninstall", name))
	if !c.isOlder() {
		t.Error("crds.install=false has changed the CRDs")
	}
	kept("a release without CRDs")

	c.Must(c.release(namespace, "install", name, chartDir(), "--take-ownership", "--force-conflicts"))
	if c.isOlder() {
		t.Error("the CRDs are the older ones, and the release's own")
	}
	c.Must(c.release(namespace, "uninstall", name))
	kept("a release that took them over")

	refused("chat-ops", "install", "chat", chartDir(), "--create-namespace")
	c.Must(c.release("chat-ops", "install", "chat", chartDir(), "--create-namespace", "--take-ownership"))
	kept("another release that took them over")
}

// release runs helm for a release in a namespace.
func (c *cluster) release(namespace string, args ...string) error {
	c.Helper()
	return c.releaseWith(shared.helm, namespace, args...)
}

// releaseWith is release with a version of helm.
func (c *cluster) releaseWith(helm, namespace string, args ...string) error {
	c.Helper()
	args = append(args, "--kubeconfig", c.kubeconfig, "--namespace", namespace)
	_, err := framework.RunHelm(c.Context(), helm, c.TempDir(), args...)
	return err
}

// keptMessage creates a message and returns a function that checks that it still exists.
func (c *cluster) keptMessage() (kept func(after string)) {
	c.Helper()
	message := c.Declare("kept", "kept")
	uid := message.UID
	return func(after string) {
		c.Helper()
		if c.Get(message); message.UID != uid {
			c.Fatalf("after %s the message is not the same", after)
		}
	}
}

// TestNotes checks the notes that helm prints after an installation.
func TestNotes(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		values, want, never string
	}{
		"the default":                {"replicas=2", "may read the Secrets and ConfigMaps of its own namespace, and those", "ALL MESSAGES"},
		"no access to its namespace": {"access.ownNamespace=false", "may read only the Secrets and ConfigMaps that", "of its own namespace, and"},
		"CRDs are kept":              {"crds.keep=true", "crds.install=false", "ALL MESSAGES"},
		"CRDs are deleted":           {"crds.keep=false", "ALL MESSAGES", "crds.install=false"},
		"CRDs of another release":    {"crds.install=false", "are not part of this release", "are kept"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			out, err := helm(t, "install", name, chartDir(), "--dry-run=client", "--set", tc.values)
			must(t, err)
			_, notes, _ := strings.Cut(out, "\nNOTES:\n")
			if !strings.Contains(notes, tc.want) || strings.Contains(notes, tc.never) {
				t.Errorf("want %q and not %q in:\n%s", tc.want, tc.never, notes)
			}
		})
	}
}

// older is the description in the older chart's CRDs.
const older = "As an older version had it."

// olderChart returns a copy of the chart with other descriptions in its CRDs.
func olderChart(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must(t, os.CopyFS(dir, os.DirFS(chartDir())))
	files, err := filepath.Glob(filepath.Join(dir, "files", "crds", "*.yaml"))
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		before, rest, ok := strings.Cut(string(b), "openAPIV3Schema:\n        description:")
		if !ok {
			t.Fatalf("%s has no description to change", file)
		}
		// The description ends where its next sibling begins.
		_, after, _ := strings.Cut(rest, "\n        properties:")
		changed := before + "openAPIV3Schema:\n        description: " + older + "\n        properties:" + after
		must(t, os.WriteFile(file, []byte(changed), 0o600))
	}
	return dir
}

// isOlder reports whether the cluster's CRD of messages is the older chart's.
func (c *cluster) isOlder() bool {
	c.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	o.SetName("teamtalkmessages.teamtalk.io")
	c.Get(o)
	versions, _, err := unstructured.NestedSlice(o.Object, "spec", "versions")
	c.Must(err)
	description, _, err := unstructured.NestedString(versions[0].(map[string]any), "schema", "openAPIV3Schema", "description")
	c.Must(err)
	if description == "" {
		c.Fatal("the CRD does not say what it is")
	}
	return description == older
}
