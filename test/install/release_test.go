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
)

// TestRelease takes the chart through its life with helm itself: installed in an
// older version, upgraded, uninstalled and installed again. Messages outlive it all.
func TestRelease(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	ctx := t.Context()
	run := func(args ...string) error {
		_, err := helm(t, append(args, "--kubeconfig", c.kubeconfig, "--namespace", namespace)...)
		return err
	}
	must(t, run("install", name, olderChart(t), "--create-namespace"))
	if c.describes(t, "teamtalkmessages.teamtalk.io") != older {
		t.Fatal("the older chart's CRDs are not the older ones")
	}
	text := "kept"
	message := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{Name: "kept", Namespace: namespace},
		Spec: v1alpha1.TeamTalkMessageSpec{
			To: v1alpha1.Recipients{Users: []v1alpha1.UserID{3}}, Content: v1alpha1.Content{Text: &text},
		},
	}
	must(t, c.admin.Create(ctx, message))
	uid := message.UID
	kept := func(after string) {
		t.Helper()
		if err := c.admin.Get(ctx, client.ObjectKeyFromObject(message), message); err != nil || message.UID != uid {
			t.Fatalf("after %s the message is not the same: %v", after, err)
		}
	}

	must(t, c.admin.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "chat"}}))
	server := []string{
		"--set", "server.create=true,server.spec.dbProxy.endpoints={127.0.0.1:10600},server.spec.router.endpoints={127.0.0.1:8200}",
		"--set", "server.spec.aesKeySecretRef.name=teamtalk,server.spec.senders.default=1",
	}
	must(t, run(append([]string{"upgrade", name, chart(), "--set", "replicas=3,access.secrets.namespaces={chat}"}, server...)...))
	if got := c.describes(t, "teamtalkmessages.teamtalk.io"); got == older || got == "" {
		t.Errorf("the upgrade left the CRD as it was: %q", got)
	}
	deployment := &appsv1.Deployment{}
	must(t, c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, deployment))
	if *deployment.Spec.Replicas != 3 {
		t.Errorf("%d replicas after the upgrade", *deployment.Spec.Replicas)
	}
	must(t, c.admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.DefaultServerName}, &v1alpha1.TeamTalkServer{}))
	must(t, c.admin.Get(ctx, client.ObjectKey{Namespace: "chat", Name: name + "-secrets"}, &rbacv1.RoleBinding{}))
	kept("the upgrade")

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

	must(t, run(append([]string{"install", name, chart()}, server...)...))
	kept("the second install")
}

// older is what the older chart's CRDs say of themselves.
const older = "As an older version had it."

// olderChart is the chart with CRDs that describe their kind in another way.
func olderChart(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must(t, os.CopyFS(dir, os.DirFS(chart())))
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

// describes returns what the cluster's CRD says of its kind.
func (c *cluster) describes(t *testing.T, crd string) string {
	t.Helper()
	o := &unstructured.Unstructured{}
	o.SetAPIVersion("apiextensions.k8s.io/v1")
	o.SetKind("CustomResourceDefinition")
	must(t, c.admin.Get(t.Context(), client.ObjectKey{Name: crd}, o))
	versions, _, err := unstructured.NestedSlice(o.Object, "spec", "versions")
	must(t, err)
	description, _, err := unstructured.NestedString(versions[0].(map[string]any), "schema", "openAPIV3Schema", "description")
	must(t, err)
	return description
}
