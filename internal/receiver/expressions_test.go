// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
)

func newBudget(t testing.TB, work int) *budget {
	t.Helper()
	return &budget{ctx: t.Context(), purse: &purse{work: work}, work: work, limit: maxOutput}
}

// TestHostileExpressions: what is refused is refused before it is done.
func TestHostileExpressions(t *testing.T) {
	many := strings.Repeat
	for name, tc := range map[string]struct {
		expression, text string
		want             error
	}{
		"a program of thousands":           {"(a?){1000}(a?){1000}b", many("a", 400_000), errExpressionLarge},
		"repeats of repeats":               {"(((a{9}){9}){9})b", "", errExpressionLarge},
		"a long one":                       {many("a{1000}", 2000), "a", errExpressionLong},
		"many repeats":                     {many("a{1000}", 140), "a", errExpressionLarge},
		"a text that is too long for it":   {"(a?){100}b", many("a", 400_000), errBudget},
		"many classes of Unicode":          {"[" + many(`\pL`, 340) + "]", "a", errBudget},
		"many ranges without case":         {"(?i)[" + many("é-𞥃", 100) + "]", "a", errBudget},
		"the same, as numbers":             {`(?i)[` + many(`\x80-\x{1e943}`, 60) + "]", "a", errBudget},
		"many groups":                      {many("()", 300), "a", errBudget},
		"a match that looks at all, often": {"a(.*b)?", many("a", 20_000), errBudget},
		"one that is none":                 {"(", "a", errExpression},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBudget(t, maxWork)
			before := allocated()
			_, err := regexReplaceAll(b, tc.expression, tc.text, "x")
			if !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if made := allocated() - before; made > maxAllocated*maxWork/8 {
				t.Errorf("%d MiB allocated", made>>20)
			}
		})
	}
}

// TestProgramIsBounded: what is counted is no less than what an expression is
// compiled to.
func TestProgramIsBounded(t *testing.T) {
	for _, text := range expressionSeeds {
		parsed, err := syntax.Parse(text, syntax.Perl)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		size, _ := program(parsed)
		compiled, err := syntax.Compile(parsed.Simplify())
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if len(compiled.Inst) > size {
			t.Errorf("%s: %d instructions are counted, %d are there", text, size, len(compiled.Inst))
		}
	}
}

var expressionSeeds = []string{
	"", "a", "abc", "a|b|cd", "a*", "a+?", "(a|)*", "(a*)*", "(a*)+", "a{0}", "a{3}", "a{2,5}", "a{2,}", "(a*){3,}", "(ab){0,9}", "(a{3}b?){4}", "(?i)strasse", `\pL+`, "[^a]",
	`^a|b$`, `\b`, `\Bx`, "(?m)^", "(?m)$", "(?s).", `\Qa.b`, "(?P<name>x)(y)?", "(a?){30}a", `(?i)[k-z]`, "()|a", "(^|x)a", "x*",
}

// FuzzReplaceAll: it is regexp's, as long as the budget lasts.
func FuzzReplaceAll(f *testing.F) {
	for _, text := range expressionSeeds {
		for _, in := range []string{"", "abc abc", "aaa\nbba", "Straße éé \xff\xfe a.b", "xxay"} {
			f.Add(text, in, "<$1${name}$0$>")
		}
	}
	f.Fuzz(func(t *testing.T, text, in, with string) {
		b := newBudget(t, maxWork)
		parsed, err := syntax.Parse(text, syntax.Perl)
		before := allocated()
		got, fault := regexReplaceAll(b, text, in, with)
		if made := allocated() - before; made > maxAllocated*maxWork {
			t.Errorf("%d MiB allocated", made>>20)
		}
		if err != nil || fault != nil {
			if err == nil && errors.Is(fault, errExpression) || err != nil && fault == nil {
				t.Errorf("%q: %v, regexp says %v", text, fault, err)
			}
			return
		}
		if size, _ := program(parsed); size <= maxProgram {
			if compiled, err := syntax.Compile(parsed.Simplify()); err == nil && len(compiled.Inst) > size {
				t.Errorf("%q: %d instructions are counted, %d are there", text, size, len(compiled.Inst))
			}
		}
		re := regexp.MustCompile(text)
		if want := re.ReplaceAllString(in, with); got != want {
			t.Errorf("%q in %q by %q: %q, want %q", text, in, with, got, want)
		}
		if found, err := regexFind(newBudget(t, maxWork), text, in); err == nil && found != re.FindString(in) {
			t.Errorf("%q in %q: found %q, want %q", text, in, found, re.FindString(in))
		}
		if matches, err := regexMatch(newBudget(t, maxWork), text, in); err == nil && matches != re.MatchString(in) {
			t.Errorf("%q in %q: matches is %v", text, in, matches)
		}
	})
}
