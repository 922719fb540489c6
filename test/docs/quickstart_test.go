// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const quickStart = "config/samples/quick-start/"

// TestQuickStart checks that the page uses each of its files, and that their resources are valid.
func TestQuickStart(t *testing.T) {
	named := matches(`config/samples/quick-start/([a-z-]+\.yaml)`, readFile(t, "docs/tutorials/quick-start.md"))
	entries, err := os.ReadDir(filepath.Join(root, quickStart))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(named, e.Name()) {
			t.Errorf("the page does not use %s%s", quickStart, e.Name())
		}
	}
	for name, object := range map[string]any{
		"server.yaml":   &v1alpha1.TeamTalkServer{},
		"message.yaml":  &v1alpha1.TeamTalkMessage{},
		"receiver.yaml": &v1alpha1.TeamTalkReceiver{},
	} {
		if err := yaml.UnmarshalStrict([]byte(readFile(t, quickStart+name)), object); err != nil {
			t.Errorf("%s%s: %v", quickStart, name, err)
		}
	}
}
