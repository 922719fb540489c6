// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// maxAllocated is how many bytes may be allocated for a unit of work, even if freed.
	maxAllocated = 24
	// aside is what each execution allocates beside, and what else does meanwhile.
	aside = 2 << 20
)

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// execute executes a template. It returns the bytes allocated, and the units of work paid.
func execute(ctx context.Context, parsed *Template, data any, n *Notification, work int) (bytes, paid int, err error) {
	e := execution{purse: &purse{work: work}, limit: maxOutput}
	e.alerts, e.labels = costs(n)
	before := allocated()
	_, err = parsed.Execute(ctx, data, e)
	return int(allocated() - before), work - e.purse.work, err
}

// hostile is as much, and as bad, as a body can hold.
func hostile(t testing.TB) (data map[string]any, notification Notification) {
	t.Helper()
	const size = 50_000
	quarter := size / 4
	var names strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&names, `"name %d":%d,`, i, i)
	}
	body := `{"a":"` + strings.Repeat("a", size) + `","b":"` + strings.Repeat("ab;<é ", size/8) +
		`","period":"` + strings.Repeat("ab34567890123456", quarter/16) + `","half":"` + strings.Repeat("ab34567890123456", quarter/32) + `z` +
		`","list":[` + strings.Repeat("1e300,", 2000) + `1],"texts":["` + strings.Repeat(`b","`, 2000) + `a"],` +
		`"deep":` + strings.Repeat("[", 190) + strings.Repeat("]", 190) + `,"map":{` + names.String() + `"last":""},"n":999,"url":"http://` + strings.Repeat("%41/", 2500) + `"}`
	v, err := decodeGeneric([]byte(body))
	must(t, err)
	data, ok := v.(map[string]any)
	if !ok {
		t.Fatal("no object")
	}
	alerts := many(500)
	alerts.CommonLabels = KV{}
	for i := range 500 {
		alerts.CommonLabels[fmt.Sprint("label", i)] = "x"
	}
	data["alert"], data["labels"], data["alerts"] = alerts.Alerts[0], alerts.CommonLabels, alerts.Alerts
	return data, *alerts
}

// arguments are what functions are given, each as bad for some of them as can be.
var arguments = []string{
	"$.a", "$.b", "$.period", "$.half", "$.list", "$.texts", "$.deep", "$.map", "$.labels", "$.alerts", "$.alert", "$.alert.StartsAt", "$.url", "$.n", "$", `""`, `"a"`,
	"999", "-9", "true", `"%999v"`, `"%0999.999f"`, `"% #x%+q%#v"`, `"(a?){400}(a?){99}b"`, `"(((a?){10}){10}){10}b"`, `"(.*)*?c|"`, `"` + strings.Repeat(`\\pL`, 250) + `"`,
	`"(?i)[` + strings.Repeat("é-𞥃", 100) + `]"`, `"$0$0$0$0$0$0$0$0"`,
}

// Some of the arguments are given together with each other, and few with two others.
var some, few = []int{0, 3, 4, 7, 8, 10, 11, 16, 17, 20, 21, 23, 25}, []int{0, 4, 16, 17, 19, 23, 25, 28}

// calls are calls of a function with one and two of the arguments, and with three if it takes them.
func calls(name string) (all []string) {
	takes, more := library[name].bounded.NumIn(), library[name].bounded.IsVariadic()
	takesSoMany := func(n int) bool { return n == takes || more && n >= takes-1 }
	for i, a := range arguments {
		if takesSoMany(1) {
			all = append(all, name+" "+a)
		}
		for j, b := range arguments {
			if takesSoMany(2) && (i == j || slices.Contains(some, i) && slices.Contains(some, j)) {
				all = append(all, name+" "+a+" "+b)
			}
			for k, c := range arguments {
				if takes == 3 && slices.Contains(few, i) && slices.Contains(few, j) && slices.Contains(few, k) {
					all = append(all, name+" "+a+" "+b+" "+c)
				}
			}
		}
	}
	return all
}

// TestEachFunctionIsBounded calls each function for templates with the worst arguments.
func TestEachFunctionIsBounded(t *testing.T) {
	data, notification := hostile(t)
	ctx := context.WithoutCancel(t.Context())
	for _, name := range slices.Sorted(maps.Keys(library)) {
		t.Run(name, func(t *testing.T) {
			done := 0
			for _, call := range calls(name) {
				parsed, err := ParseTemplate("template", "{{range 4}}{{$x := "+call+"}}{{end}}")
				if err != nil {
					continue
				}
				bytes, paid, err := execute(ctx, parsed, data, &notification, maxWork/64)
				if more := bytes - maxAllocated*paid; more > aside {
					t.Errorf("%s: %d KiB more are allocated than are paid for, %v", call, more>>10, err)
				}
				if err == nil || errors.Is(err, errBudget) {
					done++
				}
			}
			if done == 0 && name != "fail" {
				t.Errorf("no call of %s is done: it is not tested", name)
			}
		})
	}
}

// TestHostileTemplates: what text/template does by itself is paid for as well.
func TestHostileTemplates(t *testing.T) {
	data, notification := hostile(t)
	nested := func(before, after string) string { return strings.Repeat(before, 700) + strings.Repeat(after, 700) }
	for name, template := range map[string]string{
		"maps are sorted":           `{{range 1000}}{{range $.map}}{{break}}{{end}}{{end}}`,
		"sets of labels":            `{{range 1000}}{{range $.labels}}{{break}}{{end}}{{end}}`,
		"their names":               `{{range 10000}}{{$x := $.labels.SortedPairs}}{{end}}`,
		"lists of alerts":           `{{range 10000}}{{$x := $.alerts.Firing}}{{end}}`,
		"branches":                  `{{range 20000}}` + strings.Repeat(`{{if 0}}{{end}}`, 1000) + `{{end}}`,
		"variables":                 `{{range 20000}}` + strings.Repeat(`{{$a := 1}}`, 700) + strings.Repeat(`{{if $}}{{end}}`, 500) + `{{end}}`,
		"calls in each other":       `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`,
		"calls in blocks":           `{{define "a"}}` + nested(`{{if 1}}`, `{{end}}`) + `{{template "a" .}}{{end}}{{template "a" .}}`,
		"blocks in each other":      nested(`{{if 1}}{{with 1}}`, `{{end}}{{end}}`),
		"parentheses in each other": `{{` + strings.Repeat("(", 1200) + "1" + strings.Repeat(")", 1200) + `}}`,
		"times":                     `{{range 10000}}{{$x := $.alert.StartsAt.Format "Monday, January"}}{{end}}`,
		"a long layout":             `{{$.alert.StartsAt.Format $.a}}`,
		"what it prints":            `{{range 10000}}{{with $.list}}{{.}}{{end}}{{end}}`,
		"a text that doubles":       `{{$x := $.a}}{{range 60}}{{$x = print $x $x}}{{end}}`,
		"many names to remove":      `{{$x := splitList "" $.a}}{{$y := $.labels.Remove $x}}`,
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := ParseTemplate("template", template)
			must(t, err)
			bytes, paid, err := execute(t.Context(), parsed, data, &notification, maxTextWork)
			if err == nil || bytes > maxAllocated*paid+aside {
				t.Errorf("%v, %d KiB for %d units", err, bytes>>10, paid)
			}
		})
	}
}

// FuzzTemplate: for any template and body, the cost is bounded and there is a text.
func FuzzTemplate(f *testing.F) {
	for _, template := range []string{
		`{{range .}}{{.}}{{end}}`, `{{printf "%99v %d" . .}}`, `{{regexReplaceAll "(a|b)*?c" (toJson .) "$1"}}`, `{{$x := "ab"}}{{range 9}}{{$x = print $x $x}}{{end}}{{$x}}`,
		`{{join "," (splitList "a" (print .))}}`, `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`, `{{html . | js | urlquery | quote}}`, `{{index . 0 | trunc 5}}`,
	} {
		for _, body := range []string{`["a<b",1,2.5,null]`, `{"a":{"b":[1e300,-1]}}`, `"` + strings.Repeat("ab", 500) + `"`} {
			f.Add(template, body)
		}
	}
	f.Fuzz(func(t *testing.T, template, body string) {
		previews, _, err := PreviewOf(t.Context(), generic(template), []byte(body))
		if err != nil {
			return // no JSON
		}
		if text := previews[0].Text; text == "" || len(text) > cipher.MaxTextWithToken {
			t.Errorf("%d bytes: %q", len(text), text)
		}
		parsed, err := ParseTemplate("template", template)
		if err != nil {
			return
		}
		data, err := decodeGeneric([]byte(body))
		must(t, err)
		bytes, paid, err := execute(t.Context(), parsed, data, &Notification{}, maxTextWork)
		if bytes > maxAllocated*paid+aside+64*len(body) {
			t.Errorf("%d KiB for %d units, %v", bytes>>10, paid, err)
		}
	})
}

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

// TestProgramIsBounded: the counted size of an expression is not below that of its program.
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
