// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/pkg/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// fluxSample is the sample of Flux: a GitRepository and a Kustomization.
type fluxSample struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name, Namespace string
	} `json:"metadata"`
	Spec struct {
		Interval  string
		URL       string
		Ref       struct{ Branch string }
		SourceRef struct{ Kind, Name string }
		Path      string
		Prune     bool
		Wait      bool
		Timeout   string
	} `json:"spec"`
}

// readFluxSample returns the directory that the sample's Kustomization applies.
func readFluxSample(t *testing.T) (path string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared.Root, "config", "samples", "gitops", "flux", "announcements.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var source, k fluxSample
	documents := strings.Split(string(b), "\n---\n")
	for i, o := range []*fluxSample{&source, &k} {
		if err := yaml.UnmarshalStrict([]byte(documents[i]), o); err != nil {
			t.Fatal(err)
		}
	}
	ref := k.Spec.SourceRef
	if source.Kind != ref.Kind || source.Metadata.Name != ref.Name || source.Metadata.Namespace != k.Metadata.Namespace {
		t.Errorf("the Kustomization is about %+v, and the source is %s %s", ref, source.Kind, source.Metadata.Name)
	}
	if !k.Spec.Prune || !k.Spec.Wait {
		t.Errorf("the tests are about a Kustomization that prunes and waits, not %+v", k.Spec)
	}
	path, found := strings.CutPrefix(k.Spec.Path, "./config/samples/gitops/")
	if !found {
		t.Fatalf("the path %s is not below config/samples/gitops", k.Spec.Path)
	}
	return path
}

// TestFlux applies the sample's announcements, one for each release.
func TestFlux(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	f := newFlux(x)
	all := x.sample(readFluxSample(t))
	older, newer := all[0], all[1]
	sync := func(want ssa.Action, objects ...*unstructured.Unstructured) {
		t.Helper()
		x.Must(f.sync(t.Context(), objects...))
		for _, e := range f.changes.Entries {
			if e.Action != want {
				t.Errorf("%s was %s, want %s", e.Subject, e.Action, want)
			}
		}
		x.Must(f.wait(framework.Timeout))
	}
	const newRelease = "Release 1.5.0 is out"
	sync(ssa.CreatedAction, older)
	x.checkTexts(released)
	x.Must(f.sync(t.Context(), older, newer))
	x.Must(f.wait(framework.Timeout))
	x.checkTexts(released, newRelease)
	// What the operator writes is no drift.
	sync(ssa.UnchangedAction, older, newer)

	// A rollback deletes the newer one. Another one after that has its key.
	sync(ssa.UnchangedAction, older)
	if x.live(newer) != nil {
		t.Errorf("the newer announcement is still there")
	}
	x.Must(f.sync(t.Context(), older, newer))
	x.Must(f.wait(framework.Timeout))
	x.checkTexts(released, newRelease)

	// One edit that is refused keeps Flux from applying anything of the Kustomization.
	next := edited(newer, set("release-1.6.0", "metadata", "name"), set("release-1.6.0", "spec", "idempotencyKey"))
	if err := f.sync(t.Context(), edited(older, text(corrected)), newer, next); err == nil || x.live(next) != nil {
		t.Errorf("synced with %v, and the next one is %v", err, x.live(next))
	}
	// A message that fails makes the Kustomization fail, and nothing else.
	x.Must(f.sync(t.Context(), older, newer, edited(next, to(newcomer))))
	if err := f.wait(framework.Timeout); err == nil || !strings.Contains(err.Error(), "status: 'Failed'") {
		t.Errorf("waited until %v", err)
	}
	x.checkTexts(released, newRelease)
	x.Must(f.sync(t.Context(), older, newer, next))
	x.Must(f.wait(framework.Timeout))
	x.checkTexts(released, newRelease, newRelease)
}

// TestFluxWaits: a message that waits for its server keeps the Kustomization from being Ready.
func TestFluxWaits(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	f := newFlux(x)
	o := x.sample("announcements/release-1.4.0.yaml")[0]
	x.Must(f.sync(t.Context(), o))
	if err := f.wait(time.Second); err == nil || !strings.Contains(err.Error(), "status: 'InProgress'") {
		t.Errorf("waited until %v", err)
	}
	x.CreateServer()
	x.Must(f.wait(framework.Timeout))
	x.checkTexts(released)
}
