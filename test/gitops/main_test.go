// SPDX-License-Identifier: Apache-2.0

// Package gitops tests what tools that apply manifests send with messages in Git, and the samples in
// config/samples/gitops. The library of Flux's kustomize-controller, kubectl's, which Argo CD uses, and helm
// apply them. The API server and the operator are real.
package gitops

import (
	"context"
	"maps"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// shared is what all tests of this package use. Each test has a tenant of its own.
var shared struct {
	*framework.Cluster
	kubeconfig, helm string
}

func TestMain(m *testing.M) {
	cmdutil.BehaviorOnFatal(func(message string, _ int) { panic(kubectlError(message)) })
	framework.Suite{
		Parallel: 16,
		Setup: func(ctx context.Context, c *framework.Cluster) (err error) {
			shared.Cluster, shared.kubeconfig = c, filepath.Join(c.Dir, "kubeconfig")
			if err := c.Plane.WriteKubeconfig(shared.kubeconfig); err != nil {
				return err
			}
			if shared.helm, err = framework.Tool(ctx, "helm", "helm"); err != nil {
				return err
			}
			return c.StartLeader()
		},
	}.RunTests(m)
}

// tenant is a framework.Tenant with what the tests of this package do to it.
type tenant struct{ *framework.Tenant }

// newTenant is a tenant without a server.
func newTenant(t testing.TB) *tenant {
	t.Helper()
	x := &tenant{shared.NewTenant(t, shared.TeamTalk)}
	x.GrantOperator()
	return x
}

func newTenantWithServer(t testing.TB) *tenant {
	t.Helper()
	x := newTenant(t)
	x.CreateServer()
	return x
}

// sample reads the files of a sample in config/samples/gitops, or renders its directory, as manifests of the tenant: in
// its namespace, and to Alice.
func (x *tenant) sample(path string) []*unstructured.Unstructured {
	x.Helper()
	path = filepath.Join(shared.Root, "config", "samples", "gitops", path)
	read := framework.Kustomize
	if filepath.Ext(path) == ".yaml" {
		read = func(file string) ([]*unstructured.Unstructured, error) { return framework.Read(file) }
	}
	objects, err := read(path)
	x.Must(err)
	for _, o := range objects {
		o.SetNamespace(x.Namespace)
		if o.GetKind() == "TeamTalkMessage" {
			to(x.Alice)(o)
		}
	}
	return objects
}

// manifestEdit changes a manifest in Git.
type manifestEdit func(*unstructured.Unstructured)

func set(value any, path ...string) manifestEdit {
	return func(o *unstructured.Unstructured) {
		if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
			panic(err)
		}
	}
}

func to(user uint32) manifestEdit { return set([]any{int64(user)}, "spec", "to", "users") }

func text(text string) manifestEdit { return set(text, "spec", "content", "text") }

func withoutKey(o *unstructured.Unstructured) {
	unstructured.RemoveNestedField(o.Object, "spec", "idempotencyKey")
}

func annotated(name, value string) manifestEdit {
	return func(o *unstructured.Unstructured) {
		all := maps.Clone(o.GetAnnotations())
		if all == nil {
			all = map[string]string{}
		}
		all[name] = value
		o.SetAnnotations(all)
	}
}

func labelled(name, value string) manifestEdit {
	return func(o *unstructured.Unstructured) {
		all := maps.Clone(o.GetLabels())
		if all == nil {
			all = map[string]string{}
		}
		all[name] = value
		o.SetLabels(all)
	}
}

// edited returns a manifest with edits.
func edited(o *unstructured.Unstructured, edits ...manifestEdit) *unstructured.Unstructured {
	o = o.DeepCopy()
	for _, edit := range edits {
		edit(o)
	}
	return o
}

func copies(objects []*unstructured.Unstructured) (all []*unstructured.Unstructured) {
	for _, o := range objects {
		all = append(all, o.DeepCopy())
	}
	return all
}

// missing returns the objects of some that others do not have.
func missing(some, others []*unstructured.Unstructured) (all []*unstructured.Unstructured) {
	there := map[string]bool{}
	id := func(o *unstructured.Unstructured) string {
		return o.GetKind() + "/" + o.GetNamespace() + "/" + o.GetName()
	}
	for _, o := range others {
		there[id(o)] = true
	}
	for _, o := range some {
		if !there[id(o)] {
			all = append(all, o)
		}
	}
	return all
}

// live returns an object as the API server has it, or nil.
func (x *tenant) live(o *unstructured.Unstructured) *unstructured.Unstructured {
	x.Helper()
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(o.GroupVersionKind())
	err := x.Cluster.Admin.Get(x.Context(), client.ObjectKeyFromObject(o), live)
	if apierrors.IsNotFound(err) {
		return nil
	}
	x.Must(err)
	return live
}

// deleteForeground deletes an object as Argo CD does, and what the garbage collector does then, which the control plane
// of the tests does not have.
func (x *tenant) deleteForeground(o *unstructured.Unstructured) {
	x.Helper()
	live := x.live(o)
	if live == nil {
		return
	}
	x.Must(x.Cluster.Admin.Delete(x.Context(), live, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	x.Patch(live, `{"metadata":{"finalizers":null}}`)
	if x.live(o) != nil {
		x.Fatalf("%s is still there", o.GetName())
	}
}

// awaitEnd waits until the operator has handled a message as Git has it now: until it has finished, or until its TTL
// has deleted it. It returns the message if it is there.
func (x *tenant) awaitEnd(o *unstructured.Unstructured) *v1alpha1.TeamTalkMessage {
	x.Helper()
	_, expires, _ := unstructured.NestedFieldNoCopy(o.Object, "spec", "ttlSecondsAfterFinished")
	if expires {
		x.Eventually(o.GetName()+" is not deleted", func() bool { return x.live(o) == nil })
		return nil
	}
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(o.GetName())}
	return x.AwaitMessage(m, "finished", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Finished() && m.Status.ObservedGeneration == m.Generation && !m.RetryAsked()
	})
}

// checkTexts checks what the store holds, in the order in which it was stored.
func (x *tenant) checkTexts(want ...string) {
	x.Helper()
	var got []string
	for _, row := range x.Rows() {
		got = append(got, row.Text)
	}
	if len(got) != len(want) {
		x.Errorf("the store holds %q, want %q", got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			x.Errorf("the store holds %q, want %q", got, want)
			return
		}
	}
}
