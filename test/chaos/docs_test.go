// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocs compares the table of scenarios in docs/chaos.md with what there is.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "chaos.md"))
	if err != nil {
		t.Fatal(err)
	}
	yes := map[bool]string{true: "yes"}
	var want strings.Builder
	for _, s := range scenarios() {
		fmt.Fprintf(&want, "| `%s` | %s | %s | %s | %s |\n", s.name, s.clause, yes[s.alone], yes[s.needsDev], yes[s.short])
	}
	if !strings.Contains(string(page), want.String()) {
		t.Errorf("docs/chaos.md lacks the table of scenarios:\n%s", want.String())
	}
}
