// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the folder of the repository.
var root = filepath.Join("..", "..")

// walk calls visit with each file of the repository whose name matches, by its path from the root.
func walk(t *testing.T, name *regexp.Regexp, visit func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !name.MatchString(d.Name()) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		short, err := filepath.Rel(root, path)
		visit(filepath.ToSlash(short), string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```.*?^ *```$")
	heading   = regexp.MustCompile(`(?m)^#+ (.+)$`)
	unlinked  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names by which the headings of a page are linked to.
func anchors(page string) []string {
	var names []string
	for _, h := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(page, ""), -1) {
		names = append(names, strings.ReplaceAll(unlinked.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return names
}

// TestLinks checks that the files and headings to which the documentation links exist.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s:#]*)(?:#([^)\s]+))?\)`)
	links := 0
	walk(t, regexp.MustCompile(`\.md$`), func(page, text string) {
		for _, l := range link.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
			links++
			target := page
			if l[1] != "" {
				target = filepath.Join(filepath.Dir(page), l[1])
			}
			b, err := os.ReadFile(filepath.Join(root, target))
			if info, statErr := os.Stat(filepath.Join(root, target)); statErr == nil && info.IsDir() {
				err = nil
			}
			switch {
			case err != nil:
				t.Errorf("%s links to %s: %v", page, l[1], err)
			case l[2] != "" && !slices.Contains(anchors(string(b)), l[2]):
				t.Errorf("%s links to %s#%s, which has no such heading", page, l[1], l[2])
			}
		}
	})
	if links < 100 {
		t.Errorf("found %d links only", links)
	}
}

// TestMentions checks that the pages which code, manifests and the chart name exist, with their headings.
func TestMentions(t *testing.T) {
	mention := regexp.MustCompile(`(?:^|[^\w./-]|/main/)docs/([a-z0-9/-]+\.(?:md|svg|png))(?:#([\p{L}\p{N}_-]+))?`)
	mentions := 0
	text := regexp.MustCompile(`\.(go|md|ya?ml|json|tpl|txt)$|^(Makefile|Dockerfile|[a-z-]+)$`)
	walk(t, text, func(path, text string) {
		if !strings.Contains(text, "docs/") { // much faster than the expression
			return
		}
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			mentions++
			b, err := os.ReadFile(filepath.Join(root, "docs", m[1]))
			switch {
			case err != nil:
				t.Errorf("%s mentions docs/%s: %v", path, m[1], err)
			case m[2] != "" && !slices.Contains(anchors(string(b)), m[2]):
				t.Errorf("%s mentions docs/%s#%s, which has no such heading", path, m[1], m[2])
			}
		}
	})
	if mentions < 100 {
		t.Errorf("found %d mentions only", mentions)
	}
}

// TestIndex checks that the index links to each page, and that each page is in one of the four groups.
func TestIndex(t *testing.T) {
	index := readFile(t, "docs/index.md")
	walk(t, regexp.MustCompile(`\.md$`), func(page, _ string) {
		path, ok := strings.CutPrefix(page, "docs/")
		if !ok || path == "index.md" {
			return
		}
		group, _, _ := strings.Cut(path, "/")
		if !slices.Contains([]string{"tutorials", "how-to", "reference", "explanation"}, group) {
			t.Errorf("%s is in none of the four groups", page)
		}
		if !strings.Contains(index, "]("+path+")") {
			t.Errorf("docs/index.md does not link to %s", path)
		}
	})
}
