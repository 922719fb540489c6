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

// overlay renders a kustomization over folders of config/, as users write one.
func overlay(t *testing.T, more string, folders ...string) []*unstructured.Unstructured {
	t.Helper()
	dir := t.TempDir()
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n" + more + "resources:\n"
	for _, folder := range folders {
		// kustomize takes folders by relative paths alone, and follows links first.
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

// TestOverlayWithoutKinds is the one of docs/install.md for going back to an older version.
func TestOverlayWithoutKinds(t *testing.T) {
	t.Parallel()
	_, patches, ok := strings.Cut(page(t, "install.md"), "```yaml\npatches:\n")
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

// TestOverlayInAnotherNamespace: whoever gives config another namespace gets
// everything there, and no right to an account of the old one, which may be anybody's.
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
					t.Errorf("%s has stayed in its namespace", id)
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
				t.Error("nobody is bound")
			}
		})
	}
}
