// SPDX-License-Identifier: Apache-2.0

package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestRelease installs an older version of the chart with helm, upgrades, rolls back, uninstalls
// and installs again. Messages are kept all the time.
func TestRelease(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ctx := t.Context()
	run := func(args ...string) error { return c.release(t, namespace, args...) }
	olderChart := olderChart(t)
	must(t, run("install", name, olderChart, "--create-namespace"))
	if !c.isOlder(t) {
		t.Fatal("the older chart's CRDs are not the older ones")
	}
	kept := c.message(t)

	must(t, c.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "chat"}}))
	server := []string{
		"--set", "server.create=true,server.spec.dbProxy.endpoints={127.0.0.1:10600},server.spec.router.endpoints={127.0.0.1:8200}",
		"--set", "server.spec.aesKeySecretRef.name=teamtalk,server.spec.senders.default=1",
	}
	must(t, run(append([]string{"upgrade", name, chartDir(), "--set", "replicas=3,access.secrets.namespaces={chat}"}, server...)...))
	if c.isOlder(t) {
		t.Error("the upgrade left the CRDs as they were")
	}
	deployment := &appsv1.Deployment{}
	must(t, c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, deployment))
	if *deployment.Spec.Replicas != 3 {
		t.Errorf("%d replicas after the upgrade", *deployment.Spec.Replicas)
	}
	must(t, c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.DefaultServerName}, &v1alpha1.TeamTalkServer{}))
	must(t, c.admin.Get(ctx, client.ObjectKey{Namespace: "chat", Name: name + "-secrets"}, &rbacv1.RoleBinding{}))
	kept("the upgrade")

	// A rollback brings the older CRDs. The way that the page describes keeps the newer ones,
	// and a later upgrade works.
	must(t, run("rollback", name, "1"))
	if !c.isOlder(t) {
		t.Error("the page warns of a rollback, which leaves the CRDs as they are")
	}
	kept("the rollback")
	must(t, run(append([]string{"upgrade", name, chartDir()}, server...)...))
	must(t, run("upgrade", name, olderChart, "--reuse-values", "--set", "crds.install=false"))
	if c.isOlder(t) {
		t.Error("going back without CRDs has brought the older ones")
	}
	kept("going back")
	must(t, run("upgrade", name, chartDir(), "--reset-then-reuse-values", "--set", "crds.install=true"))
	kept("the second upgrade")

	must(t, run("uninstall", name))
	kept("the uninstall")
	if err := c.admin.Get(ctx, client.ObjectKeyFromObject(deployment), deployment); !apierrors.IsNotFound(err) {
		t.Errorf("the uninstall left the Deployment: %v", err)
	}
	roles := &rbacv1.ClusterRoleList{}
	must(t, c.admin.List(ctx, roles, client.MatchingLabels{"app.kubernetes.io/instance": name}))
	if len(roles.Items) > 0 {
		t.Errorf("the uninstall left %d ClusterRoles", len(roles.Items))
	}

	must(t, run(append([]string{"install", name, chartDir()}, server...)...))
	kept("the second install")
}

// TestExistingCRDs installs the chart where the CRDs exist: from kubectl, or from another
// release.
func TestExistingCRDs(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	must(t, framework.InstallCRDs(t.Context(), c.admin, filepath.Join(olderChart(t), "files", "crds")))
	must(t, c.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	kept := c.message(t)
	refused := func(namespace string, args ...string) {
		t.Helper()
		if err := c.release(t, namespace, args...); err == nil || !strings.Contains(err.Error(), "ownership metadata") {
			t.Errorf("the page says that helm refuses CRDs which are not its own: %v", err)
		}
	}

	refused(namespace, "install", name, chartDir())
	must(t, c.release(t, namespace, "install", name, chartDir(), "--set", "crds.install=false"))
	must(t, c.release(t, namespace, "uninstall", name))
	if !c.isOlder(t) {
		t.Error("crds.install=false has changed the CRDs")
	}
	kept("a release without CRDs")

	must(t, c.release(t, namespace, "install", name, chartDir(), "--take-ownership", "--force-conflicts"))
	if c.isOlder(t) {
		t.Error("the CRDs are the older ones, and the release's own")
	}
	must(t, c.release(t, namespace, "uninstall", name))
	kept("a release that took them over")

	refused("chat-ops", "install", "chat", chartDir(), "--create-namespace")
	must(t, c.release(t, "chat-ops", "install", "chat", chartDir(), "--create-namespace", "--take-ownership"))
	kept("another release that took them over")
}

// release runs helm for a release in a namespace.
func (c *cluster) release(t *testing.T, namespace string, args ...string) error {
	t.Helper()
	_, err := helm(t, append(args, "--kubeconfig", c.kubeconfig, "--namespace", namespace)...)
	return err
}

// message creates a message and returns a function that checks that it still exists.
func (c *cluster) message(t *testing.T) (kept func(after string)) {
	t.Helper()
	text := "kept"
	message := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: "kept", Namespace: namespace},
		Spec: v1alpha1.TeamTalkMessageSpec{
			To: v1alpha1.Recipients{Users: []v1alpha1.UserID{3}}, Content: v1alpha1.Content{Text: &text},
		},
	}
	must(t, c.admin.Create(t.Context(), message))
	uid := message.UID
	return func(after string) {
		t.Helper()
		if err := c.admin.Get(t.Context(), client.ObjectKeyFromObject(message), message); err != nil || message.UID != uid {
			t.Fatalf("after %s the message is not the same: %v", after, err)
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
func (c *cluster) isOlder(t *testing.T) bool {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	must(t, c.admin.Get(t.Context(), client.ObjectKey{Name: "teamtalkmessages.teamtalk.io"}, o))
	versions, _, err := unstructured.NestedSlice(o.Object, "spec", "versions")
	must(t, err)
	description, _, err := unstructured.NestedString(versions[0].(map[string]any), "schema", "openAPIV3Schema", "description")
	must(t, err)
	if description == "" {
		t.Fatal("the CRD does not say what it is")
	}
	return description == older
}
