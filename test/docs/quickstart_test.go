// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

const quickStart = "config/samples/quick-start/"

// TestQuickStart checks that the page uses each of its files, and that their resources are valid.
func TestQuickStart(t *testing.T) {
	named := matches(`config/samples/quick-start/([a-z-]+\.yaml)`, read(t, "docs/tutorials/quick-start.md"))
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
		if err := yaml.UnmarshalStrict([]byte(read(t, quickStart+name)), object); err != nil {
			t.Errorf("%s%s: %v", quickStart, name, err)
		}
	}
}

// TestQuickStartIsTested checks that make e2e runs the quick start's TeamTalk in its node: the manifests are equal,
// but for names, the key, and the latency that the test needs.
func TestQuickStartIsTested(t *testing.T) {
	names := map[string]string{"NAMESPACE": "chat", "NAME": "teamtalk-dev", "IMAGE": "teamtalk.example/teamtalk-dev:0.1.0"}
	tested := os.Expand(read(t, "test/e2e/manifests/teamtalk.yaml"), func(name string) string { return names[name] })
	_, tested, _ = strings.Cut(tested, "\n---\n") // the Secret
	left := regexp.MustCompile(`(?m)^ *(#|- --latency=).*\n`)
	want, got := left.ReplaceAllString(tested, ""), left.ReplaceAllString(read(t, quickStart+"teamtalk.yaml"), "")
	if got != want {
		t.Errorf("%steamtalk.yaml is\n%s\nmake e2e runs\n%s", quickStart, got, want)
	}
}
