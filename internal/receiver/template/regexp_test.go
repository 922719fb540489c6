// SPDX-License-Identifier: Apache-2.0

package template

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"
)

func newBudget(t testing.TB) *budget {
	t.Helper()
	return &budget{ctx: t.Context(), work: maxWork, limit: maxOutput, zone: time.UTC}
}

// TestHostilePatterns: patterns are refused before they are compiled.
func TestHostilePatterns(t *testing.T) {
	many := strings.Repeat
	for name, tc := range map[string]struct {
		pattern, text string
		want          error
	}{
		"a program of thousands":           {"(a?){1000}(a?){1000}b", many("a", 400_000), errPatternSize},
		"repeats of repeats":               {"(((a{10}){10}){10})b", "", errPatternSize},
		"a long one":                       {many("a{1000}", 2000), "a", errPatternSize},
		"many repeats":                     {many("a{1000}", 36), "a", errPatternSize},
		"a text that is too long for it":   {"(a?){100}b", many("a", 400_000), errWork},
		"many classes of Unicode":          {"[" + many(`\pL`, 340) + "]", "a", errPatternSize},
		"many ranges without case":         {"(?i)[" + many("é-𞥃", 30) + "]", "a", errPatternCase},
		"the same, as numbers":             {`(?i)[` + many(`\x80-\x{1e943}`, 15) + "]", "a", errPatternCase},
		"many groups":                      {many("()", 100), "a", errPatternSize},
		"a match that looks at all, often": {"a(.*b)?", many("a", 20_000), errWork},
		"one that is none":                 {"(", "a", errPattern},
	} {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			_, err := regexReplaceAll(newBudget(t), tc.pattern, tc.text, "x")
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if made := allocated() - before; made > maxAllocated*maxWork/8 {
				t.Errorf("%d MiB allocated", made>>20)
			}
		})
	}
}

var expressionSeeds = []string{
	"", "a", "abc", "a|b|cd", "a*", "a+?", "(a|)*", "(a*)*", "(a*)+", "a{0}", "a{3}", "a{2,5}", "a{2,}", "(a*){3,}", "(ab){0,9}", "(a{3}b?){4}", "(?i)strasse", `\pL+`, "[^a]",
	`^a|b$`, `\b`, `\Bx`, "(?m)^", "(?m)$", "(?s).", `\Qa.b`, "(?P<name>x)(y)?", "(a?){30}a", `(?i)[k-z]`, "()|a", "(^|x)a", "x*",
}

// FuzzReplaceAll: it is regexp's, while there is work left.
func FuzzReplaceAll(f *testing.F) {
	for _, text := range expressionSeeds {
		for _, in := range []string{"", "abc abc", "aaa\nbba", "Straße éé \xff\xfe a.b", "xxay"} {
			f.Add(text, in, "<$1${name}$0$>")
		}
	}
	f.Fuzz(func(t *testing.T, text, in, with string) {
		re, err := regexp.Compile(text)
		before := allocated()
		got, fault := regexReplaceAll(newBudget(t), text, in, with)
		if made := allocated() - before; made > maxAllocated*maxWork {
			t.Errorf("%d MiB allocated", made>>20)
		}
		if err != nil || fault != nil {
			if err == nil && errors.Is(fault, errPattern) || err != nil && fault == nil {
				t.Errorf("%q: %v, regexp says %v", text, fault, err)
			}
			return
		}
		if want := re.ReplaceAllString(in, with); got != want {
			t.Errorf("%q in %q by %q: %q, want %q", text, in, with, got, want)
		}
		if found, err := regexFind(newBudget(t), text, in); err == nil && found != re.FindString(in) {
			t.Errorf("%q in %q: found %q, want %q", text, in, found, re.FindString(in))
		}
		if matches, err := regexMatch(newBudget(t), text, in); err == nil && matches != re.MatchString(in) {
			t.Errorf("%q in %q: matches is %v", text, in, matches)
		}
	})
}
