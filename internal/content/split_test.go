// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSplitText(t *testing.T) {
	cases := map[string]struct {
		text  string
		limit int
		want  []string
	}{
		"at the end of a line":  {"aaaaaaa\nbbb ccc", 20, []string{"(1/2) aaaaaaa", "(2/2) bbb ccc"}},
		"at a blank":            {"aaaaaaa bbbccc", 20, []string{"(1/2) aaaaaaa", "(2/2) bbbccc"}},
		"a line before a blank": {"aaaaaa\nbbb ccc", 20, []string{"(1/2) aaaaaa", "(2/2) bbb ccc"}},
		"nowhere else":          {strings.Repeat("a", 25), 20, []string{"(1/3) " + strings.Repeat("a", 12), "(2/3) " + strings.Repeat("a", 12), "(3/3) a"}},
		"between characters":    {strings.Repeat("中", 5), 20, []string{"(1/2) 中中中中", "(2/2) 中"}},
		"ends with its cut":     {strings.Repeat("a", 11) + "\n" + "b\n", 20, []string{"(1/2) " + strings.Repeat("a", 11), "(2/2) b\n"}},
		"too early to cut at":   {"aa " + strings.Repeat("b", 12), 20, []string{"(1/2) aa " + strings.Repeat("b", 9), "(2/2) bbb"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, segment := range splitText(tc.text, tc.limit) {
				got = append(got, string(segment))
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestSplitLosesNothing: the segments hold all characters of any text, except those at which it was split.
func TestSplitLosesNothing(t *testing.T) {
	for n := range 200 {
		text := strings.Repeat("wörter und 中文字 ", n) + strings.Repeat("x", n) + "\n"
		var joined strings.Builder
		for i, segment := range splitText(text, 64) {
			if len(segment) > 64 || !utf8.Valid(segment) {
				t.Fatalf("segment %d of %d characters: %q", i, n, segment)
			}
			_, after, ok := strings.Cut(string(segment), ") ")
			if !ok {
				t.Fatalf("no number: %q", segment)
			}
			joined.WriteString(after)
		}
		bare := strings.NewReplacer(" ", "", "\n", "").Replace
		if bare(joined.String()) != bare(text) {
			t.Fatalf("%d: lost %q", n, text)
		}
	}
}
