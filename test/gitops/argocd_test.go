// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/health"
)

// TestArgoCDReplace: with Replace=true, Argo CD replaces what it has applied, and with Force=true, too, it deletes it
// first, at each sync.
func TestArgoCDReplace(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options         string
		steps           []step
		want, wantKeyed []string
	}{
		"replace": {
			options: "Replace=true", steps: []step{commit(), commit(), refused(text(corrected)), commit(labelled("team", "chat"))},
			want: []string{released}, wantKeyed: []string{released},
		},
		"replace by force": {
			options: "Replace=true,Force=true", steps: []step{commit(), commit(), commit(text(corrected))},
			want: []string{released, released, corrected}, wantKeyed: []string{released},
		},
	} {
		for key, want := range map[string][]string{"key": tc.wantKeyed, "no key": tc.want} {
			t.Run(name+"/"+key, func(t *testing.T) {
				t.Parallel()
				r := newTenantWithServer(t).repository(tools["Argo CD"], annotated(syncOptions, tc.options))
				if key == "no key" {
					withoutKey(r.manifest)
				}
				for _, step := range tc.steps {
					step(r)
				}
				r.checkTexts(want...)
			})
		}
	}
}

// TestArgoCDForceOnServerSide: kubectl has no force with server-side apply.
func TestArgoCDForceOnServerSide(t *testing.T) {
	t.Parallel()
	r := newTenantWithServer(t).repository(tools["Argo CD on the server side"], annotated(syncOptions, "Force=true"))
	if err := r.sync(t.Context(), r.manifest); err == nil || !strings.Contains(err.Error(), "--force cannot be used with --server-side") {
		t.Errorf("synced with %v", err)
	}
}

// TestArgoCDApplication: the sample's Application applies the announcements, and deletes those that are removed.
func TestArgoCDApplication(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(shared.Root, "config", "samples", "gitops", "argocd", "announcements.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var app struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
		Spec             struct {
			Project     string
			Source      struct{ RepoURL, TargetRevision, Path string }
			Destination struct{ Server, Namespace string }
			SyncPolicy  struct {
				Automated struct{ Prune bool }
			}
		}
	}
	if err := yaml.UnmarshalStrict(b, &app); err != nil {
		t.Fatal(err)
	}
	if app.Spec.Source.Path != "config/samples/gitops/announcements" || !app.Spec.SyncPolicy.Automated.Prune {
		t.Errorf("the Application is %+v", app.Spec)
	}
	x := newTenantWithServer(t)
	a := &argoCD{tenant: x}
	all := x.sample(filepath.Base(app.Spec.Source.Path))
	for _, objects := range [][]*unstructured.Unstructured{all, all, all[:1], all} {
		x.Must(a.sync(t.Context(), objects...))
		for _, o := range objects {
			x.awaitEnd(o)
			if got := x.health(o); got != "Healthy" {
				t.Errorf("%s is %s", o.GetName(), got)
			}
		}
		if left := x.Messages(); len(left) != len(objects) {
			t.Errorf("there are %d messages, want %d", len(left), len(objects))
		}
	}
	x.CheckRows(2)
}

// health is what Argo CD's health check says of an object.
func (x *tenant) health(o *unstructured.Unstructured) string {
	x.Helper()
	if o.GetKind() == "ConfigMap" {
		return "Healthy"
	}
	got, err := health.Of(shared.Root, x.live(o))
	x.Must(err)
	return got.ArgoCD
}

// syncApp syncs as Argo CD does: waves, in each of which all has to be Healthy, and then hooks, which are deleted
// before they are created. applied is told of each object that is Healthy.
func (a *argoCD) syncApp(objects []*unstructured.Unstructured, applied func(name string)) error {
	a.Helper()
	const hook, policy = "argocd.argoproj.io/hook", "argocd.argoproj.io/hook-delete-policy"
	wave := func(o *unstructured.Unstructured) int {
		n, _ := strconv.Atoi(o.GetAnnotations()["argocd.argoproj.io/sync-wave"])
		return n
	}
	objects = slices.Clone(objects)
	slices.SortStableFunc(objects, func(x, y *unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(x.GetAnnotations()[hook], y.GetAnnotations()[hook]), cmp.Compare(wave(x), wave(y)))
	})
	for _, o := range objects {
		annotations := o.GetAnnotations()
		switch annotations[hook] {
		case "":
		case "PostSync":
			if annotations[policy] == "BeforeHookCreation" {
				a.deleteForeground(o)
			}
		default:
			return fmt.Errorf("%s is an unknown hook", annotations[hook])
		}
		if err := a.applyOne(a.Context(), o); err != nil {
			return err
		}
		state := ""
		a.EventuallySeen(func() string { return o.GetName() + " is " + state }, func() bool {
			state = a.health(o)
			return state == "Healthy" || state == "Degraded"
		})
		if state == "Degraded" {
			return fmt.Errorf("%s is degraded", o.GetName())
		}
		if annotations[policy] == "HookSucceeded" {
			a.deleteForeground(o)
		}
		applied(o.GetName())
	}
	return nil
}

// TestArgoCDUpgrade syncs the sample with a wave and a hook around what it is about.
func TestArgoCDUpgrade(t *testing.T) {
	t.Parallel()
	const begins, done = "The upgrade to 1.5.0 begins", "The upgrade to 1.5.0 is done"
	x := newTenantWithServer(t)
	a := &argoCD{tenant: x}
	app := &unstructured.Unstructured{}
	app.SetAPIVersion("v1")
	app.SetKind("ConfigMap")
	app.SetName("app")
	app.SetNamespace(x.Namespace)
	objects := append(x.sample("argocd/upgrade.yaml"), app)
	begin, hook := objects[0], objects[1]

	var order []string
	x.Must(a.syncApp(objects, func(name string) {
		order = append(order, name)
		// Healthy is delivered.
		x.checkTexts(map[string][]string{
			"upgrade-1.5.0": {begins}, "app": {begins}, "upgraded": {begins, done},
		}[name]...)
	}))
	if want := []string{"upgrade-1.5.0", "app", "upgraded"}; !slices.Equal(order, want) {
		t.Errorf("synced %q, want %q", order, want)
	}
	ignore := func(string) {}
	x.Must(a.syncApp(objects, ignore))
	x.checkTexts(begins, done)

	// The hook without a key is sent at each sync.
	x.Must(a.syncApp([]*unstructured.Unstructured{begin, edited(hook, withoutKey), app}, ignore))
	x.Must(a.syncApp([]*unstructured.Unstructured{begin, edited(hook, withoutKey), app}, ignore))
	x.checkTexts(begins, done, done, done)
	// A hook that is deleted when it has succeeded was delivered before.
	succeeded := edited(hook, withoutKey, annotated("argocd.argoproj.io/hook-delete-policy", "HookSucceeded"), text("done"))
	x.deleteForeground(hook)
	x.Must(a.syncApp([]*unstructured.Unstructured{begin, succeeded, app}, ignore))
	x.checkTexts(begins, done, done, done, "done")
	// A hook that is not delivered makes the sync fail.
	if err := a.syncApp([]*unstructured.Unstructured{begin, edited(hook, to(newcomer)), app}, ignore); err == nil {
		t.Errorf("the sync has not failed")
	}
}
