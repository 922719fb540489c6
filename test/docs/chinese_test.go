// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestChinesePages: each page in Chinese has the structure, code and links of the English one.
func TestChinesePages(t *testing.T) {
	parts := map[string]*regexp.Regexp{
		"levels of headings": regexp.MustCompile(`(?m)^(#+) `),
		"code blocks":        regexp.MustCompile("(?ms)^ *(```.*?^ *```)$"),
		"code in sentences":  regexp.MustCompile("[^`](`[^`\n]+`)"),
		"links":              regexp.MustCompile(`\]\(([^)]+)\)`),
		"addresses":          regexp.MustCompile(`<(https?://[^>]+)>`),
		"lists":              regexp.MustCompile(`(?m)^( *(?:-|\d+\.) )`),
		"tables":             regexp.MustCompile(`(?m)^(\|(?:[^|\n]*\|)+)$`),
	}
	pages := 0
	walk(t, regexp.MustCompile(`\.zh-CN\.md$`), func(page, chinese string) {
		pages++
		english := readFile(t, strings.Replace(page, ".zh-CN.md", ".md", 1))
		for name, part := range parts {
			t.Run(page+"/"+name, func(t *testing.T) {
				want, got := structure(name, part, english), structure(name, part, chinese)
				for i := range max(len(want), len(got)) {
					w, g := itemAt(want, i), itemAt(got, i)
					if w != g {
						t.Fatalf("number %d is %q in %s, and %q in the English page", i+1, g, page, w)
					}
				}
			})
		}
	})
	if pages < 4 {
		t.Errorf("found %d pages in Chinese", pages)
	}
}

// structure returns what a page has of a part, as it must be in both languages.
func structure(name string, part *regexp.Regexp, text string) []string {
	var found []string
	for _, m := range part.FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	for i := range found {
		switch name {
		case "links": // to the page in the same language
			found[i] = strings.Replace(found[i], ".zh-CN.md", ".md", 1)
		case "tables": // the number of columns
			found[i] = strings.Repeat("|", strings.Count(found[i], "|"))
		}
	}
	if name == "code in sentences" || name == "links" { // sentences have another order
		slices.Sort(found)
	}
	return found
}

func itemAt(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "missing"
}
