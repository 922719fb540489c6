// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// matches returns the first group of all matches.
func matches(pattern, text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// TestEveryReasonIsDescribed: the page has a row for each reason of the API, with what to do, and none else.
func TestEveryReasonIsDescribed(t *testing.T) {
	files, err := filepath.Glob("../../api/v1alpha1/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var reasons []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		reasons = append(reasons, matches(`(?m)^(?:\t|const )Reason\w+ += "(\w+)"`, string(b))...)
	}
	if len(reasons) < 50 {
		t.Fatalf("found %d reasons only", len(reasons))
	}
	_, table, _ := strings.Cut(readFile(t, "docs/how-to/troubleshooting.md"), "\n## Every reason\n")
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| [a-z, ]+ \\| .*\\. \\|$").FindAllStringSubmatch(table, -1)
	var described []string
	for _, row := range rows {
		described = append(described, row[1])
	}
	for _, reason := range reasons {
		if !slices.Contains(described, reason) {
			t.Errorf("docs/how-to/troubleshooting.md has no row for the reason %s: say what it means, and what to do", reason)
		}
	}
	for i, reason := range described {
		if !slices.Contains(reasons, reason) {
			t.Errorf("docs/how-to/troubleshooting.md describes %s, which is no reason of the API", reason)
		}
		if i > 0 && reason <= described[i-1] {
			t.Errorf("docs/how-to/troubleshooting.md: %s is not in the order of the alphabet", reason)
		}
	}
}
