// SPDX-License-Identifier: Apache-2.0

package install

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// overlay renders a kustomization of folders of config/, as users write one.
func overlay(t *testing.T, fields string, folders ...string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + fields + "resources:\n"
	for _, folder := range folders {
		// kustomize takes relative paths alone, and resolves links first.
		here, err := filepath.EvalSymlinks(dir)
		must(t, err)
		relative, err := filepath.Rel(here, filepath.Join(shared.root, "config", folder))
		must(t, err)
		text += "- " + relative + "\n"
	}
	must(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	objects, err := framework.Kustomize(dir)
	must(t, err)
	return objects
}

// TestOverlayWithoutCRDs tests the overlay of docs/install.md for a return to an older version.
func TestOverlayWithoutCRDs(t *testing.T) {
	t.Parallel()
	_, patches, ok := strings.Cut(readPage(t, "install.md"), "```yaml\npatches:\n")
	if !ok {
		t.Fatal("the page has no overlay with patches")
	}
	patches, _, _ = strings.Cut(patches, "```")
	want, got := byID(kustomize(t, "default")), byID(overlay(t, "patches:\n"+patches, "default"))
	for id, o := range want {
		if left := got[id] == nil; left != (o.GetKind() == "CustomResourceDefinition") {
			t.Errorf("%s: left out is %t", id, left)
		}
	}
}

// TestOverlayInAnotherNamespace checks that an overlay with another namespace moves everything
// there, and grants nothing to accounts of the old namespace.
func TestOverlayInAnotherNamespace(t *testing.T) {
	t.Parallel()
	for what, folders := range map[string][]string{
		"the operator": {"default"}, "with the gateway": {"default", "gateway", "prometheus"},
		"with the gateway in direct mode": {"default", "gateway-direct"}, "the gateway by itself": {"gateway"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			objects := overlay(t, "namespace: chat-ops\n", folders...)
			have := byID(objects)
			bindings := 0
			for id, o := range have {
				if ns := o.GetNamespace(); ns != "" && ns != "chat-ops" || id == "Namespace//"+namespace {
					t.Errorf("%s is still in its old namespace", id)
				}
				subjects, _, err := unstructured.NestedSlice(o.Object, "subjects")
				must(t, err)
				for _, s := range subjects {
					bindings++
					subject := s.(map[string]any)
					account := fmt.Sprintf("%s/%s/%s", subject["kind"], subject["namespace"], subject["name"])
					if have[account] == nil {
						t.Errorf("%s binds %s, which is not part of it", id, account)
					}
				}
			}
			if bindings == 0 {
				t.Error("there are no subjects")
			}
		})
	}
}
