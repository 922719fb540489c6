// SPDX-License-Identifier: Apache-2.0

package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// maxAllocated is how many bytes may be allocated for a unit of work, even if they are freed.
	maxAllocated = 24
	// aside is what the last call, which is over a limit, may allocate beside, and what else does meanwhile.
	aside = 24 << 20
)

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// measured executes a template. It returns the bytes allocated, and the work counted.
func measured(ctx context.Context, parsed *Template, data any, work int) (bytes, counted int, err error) {
	limits := &Limits{Work: work, Output: maxOutput}
	before := allocated()
	_, err = parsed.Execute(ctx, data, limits)
	return int(allocated() - before), work - limits.Work, err
}

// hostile is as much, and as bad, as a body can hold.
func hostile(t testing.TB) *hostileData {
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
	d := &hostileData{J: values(t, body)}
	d.Status = StatusFiring
	d.CommonLabels = KV{}
	for i := range 500 {
		d.Alerts = append(d.Alerts, Alert{Status: StatusFiring, Labels: KV{"alertname": "Down", "instance": fmt.Sprint("node-", i)}})
		d.CommonLabels[fmt.Sprint("label", i)] = "x"
	}
	return d
}

// hostileData is a notification with any JSON beside.
type hostileData struct {
	Notification
	J any
}

// arguments are what functions are given, each as bad for some of them as can be.
var arguments = []string{
	"$.J.a", "$.J.b", "$.J.period", "$.J.half", "$.J.list", "$.J.texts", "$.J.deep", "$.J.map", "$.CommonLabels", "$.Alerts", "(index $.Alerts 0)",
	"(index $.Alerts 0).StartsAt", "$.J.url", "$.J.n", "$.J", `""`, `"a"`,
	"999", "-9", "true", `"%999v"`, `"%0999.999f"`, `"% #x%+q%#v"`, `"(a?){400}(a?){99}b"`, `"(((a?){10}){10}){10}b"`, `"(.*)*?c|"`, `"` + strings.Repeat(`\\pL`, 250) + `"`,
	`"(?i)[` + strings.Repeat("é-𞥃", 100) + `]"`, `"$0$0$0$0$0$0$0$0"`,
}

// Some of the arguments are given together with each other, and few with two others.
var some, few = []int{0, 3, 4, 7, 8, 10, 11, 16, 17, 20, 21, 23, 25}, []int{0, 4, 16, 17, 19, 23, 25, 28}

// calls are calls of a function with one and two of the arguments, and with three if it takes them.
func calls(name string) (all []string) {
	takes, more := library[name].bounded.NumIn(), library[name].bounded.IsVariadic()
	takesSoMany := func(n int) bool { return n == takes || more && n >= takes-1 }
	if takesSoMany(0) {
		all = append(all, name)
	}
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
	data := hostile(t)
	for _, name := range slices.Sorted(maps.Keys(library)) {
		t.Run(name, func(t *testing.T) {
			done := 0
			for _, call := range calls(name) {
				parsed, err := Parse("template", "{{range 4}}{{$x := "+call+"}}{{end}}")
				if err != nil {
					continue
				}
				bytes, counted, err := measured(t.Context(), parsed, data, maxWork/64)
				if more := bytes - maxAllocated*counted; more > aside {
					t.Errorf("%s: %d KiB more are allocated than are counted, %v", call, more>>10, err)
				}
				if err == nil || errors.Is(err, errWork) {
					done++
				}
			}
			if done == 0 && name != "fail" {
				t.Errorf("no call of %s is done: it is not tested", name)
			}
		})
	}
}

// hostileTemplates use as much as they can, by the actions of text/template or by functions.
func hostileTemplates() map[string]string {
	nested := func(before, after string) string { return strings.Repeat(before, 700) + strings.Repeat(after, 700) }
	const doubled = `{{$x := "xxxxxxxx"}}{{range 16}}{{$x = print $x $x}}{{end}}`
	return map[string]string{
		"an endless loop":                `{{range 9000000000000}}{{end}}`,
		"loops in loops":                 `{{range 10000}}{{range 10000}}{{range 10000}}{{if true}}{{end}}{{end}}{{end}}{{end}}`,
		"maps are sorted":                `{{range 1000}}{{range $.J.map}}{{break}}{{end}}{{end}}`,
		"sets of labels":                 `{{range 5000}}{{range $.CommonLabels}}{{break}}{{end}}{{end}}`,
		"their names":                    `{{range 10000}}{{$x := $.CommonLabels.SortedPairs}}{{end}}`,
		"lists of alerts":                `{{range 10000}}{{$x := $.Alerts.Firing}}{{end}}`,
		"branches":                       `{{range 20000}}` + strings.Repeat(`{{if 0}}{{end}}`, 1000) + `{{end}}`,
		"variables":                      `{{range 20000}}` + strings.Repeat(`{{$a := 1}}`, 700) + strings.Repeat(`{{if $}}{{end}}`, 500) + `{{end}}`,
		"fields":                         `{{range 20000}}{{$x := $` + strings.Repeat(`.J.a`, 1) + strings.Repeat(`}}{{$x = $.J.a`, 1000) + `}}{{end}}`,
		"calls in each other":            `{{define "a"}}{{template "a" .}}{{end}}{{template "a" .}}`,
		"calls that double":              `{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{template "a"}}{{end}}{{template "a"}}`,
		"calls in blocks":                `{{define "a"}}` + nested(`{{if 1}}`, `{{end}}`) + `{{template "a" .}}{{end}}{{template "a" .}}`,
		"calls in parentheses":           `{{define "a"}}{{if ` + strings.Repeat("(", 1000) + "1" + strings.Repeat(")", 1000) + `}}{{template "a" .}}{{end}}{{end}}{{template "a" .}}`,
		"times":                          `{{range 100000}}{{$x := (index $.Alerts 0).StartsAt.Format "Monday, January"}}{{end}}`,
		"a long layout":                  `{{(index $.Alerts 0).StartsAt.Format $.J.a}}`,
		"what it prints":                 `{{range 10000}}{{with $.J.list}}{{.}}{{end}}{{end}}`,
		"a text that doubles":            `{{$x := $.J.a}}{{range 60}}{{$x = print $x $x}}{{end}}`,
		"texts that are kept":            `{{define "a"}}{{$x := printf "%s%d" $.J.a 1}}{{template "a" .}}{{end}}{{template "a" .}}`,
		"many names to remove":           `{{$x := splitList "" $.J.a}}{{$y := $.CommonLabels.Remove $x}}`,
		"a wide number":                  `{{printf "%999999999d" 1}}`,
		"a width that is an argument":    `{{printf "%*d" 1000000 1}}`,
		"an index in a layout":           `{{printf "%[1]s%[1]s" "x"}}`,
		"numbers in widths":              `{{range 10000}}{{$x := printf "%99.99f" $.J.list}}{{end}}`,
		"a replacement that multiplies":  doubled + `{{len (replace "x" $x $x)}}`,
		"a replacement, again and again": `{{$x := $.J.a}}{{range 10000}}{{$x = replace "a" "aa" $x}}{{$x = replace "aa" "a" $x}}{{end}}`,
		"a join that multiplies":         doubled + `{{len (join $x (splitList "" $x))}}`,
		"a pattern that multiplies":      doubled + `{{len (regexReplaceAll "" $x $x)}}`,
		"a quadratic pattern":            `{{regexReplaceAll "a(.*b)?" $.J.a "x"}}`,
		"a large pattern":                `{{range 1000}}{{$x := regexMatch "(a?){90}(b?){90}c" $.J.a}}{{end}}`,
		"many patterns":                  `{{range 1000}}{{$x := regexMatch (printf "%d[` + strings.Repeat(`\\pL`, 60) + `]" .) "a"}}{{end}}`,
		"a search that compares all":     doubled + `{{$y := print (slice $x 0 200000) "y"}}{{range 10000}}{{$z := contains $y $x}}{{end}}`,
		"too many arguments":             doubled + `{{print` + strings.Repeat(" $x", 100) + `}}`,
		"markup that multiplies":         `{{$x := "<<<<<<<<"}}{{range 14}}{{$x = print $x $x}}{{end}}{{$y := list` + strings.Repeat(" $x", 12) + `}}{{range 100}}{{$z := html $y}}{{end}}`,
		"JSON that multiplies":           `{{$x := "\x01\x01\x01\x01\x01\x01\x01\x01"}}{{range 17}}{{$x = print $x $x}}{{end}}{{$y := toJson $x}}`,
		"maps are printed":               `{{range 1000}}{{$x := print $.J.map}}{{end}}`,
		"lists that are kept":            `{{$x := list}}{{range 100000}}{{$x = list $x ` + strings.Repeat("1 ", 7000) + `}}{{end}}`,
		"sorting":                        `{{$x := splitList "" $.J.b}}{{range 1000}}{{$y := sortAlpha $x}}{{end}}`,
	}
}

func TestHostileTemplates(t *testing.T) {
	data := hostile(t)
	for name, text := range hostileTemplates() {
		t.Run(name, func(t *testing.T) {
			parsed, err := Parse("template", text)
			if err != nil {
				t.Fatal(err)
			}
			bytes, counted, err := measured(t.Context(), parsed, data, maxWork)
			if err == nil || bytes > maxAllocated*counted+aside {
				t.Errorf("%v, %d KiB for %d units", err, bytes>>10, counted)
			}
		})
	}
}

// BenchmarkHostile: docs/explanation/benchmarks.md states the worst of it.
func BenchmarkHostile(b *testing.B) {
	data := hostile(b)
	for name, text := range hostileTemplates() {
		parsed, err := Parse("template", text)
		must(b, err)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = parsed.Execute(b.Context(), data, &Limits{Work: TextWork, Output: maxOutput})
			}
		})
	}
}

// TestTooDeep: what is too deep is refused when it is parsed.
func TestTooDeep(t *testing.T) {
	if _, err := Parse("template", "{{"+strings.Repeat("(", 7000)+"1"+strings.Repeat(")", 7000)+"}}"); err == nil {
		t.Error("7000 parentheses in each other are parsed")
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
	f.Fuzz(func(t *testing.T, text, body string) {
		if !json.Valid([]byte(body)) {
			return
		}
		data := values(t, body)
		set, err := ParseSet(&v1alpha1.TeamTalkReceiverSpec{Type: v1alpha1.ReceiverGeneric, Template: text})
		if got, _ := set.Text(t.Context(), data); got == "" || len(got) > cipher.MaxTextWithToken {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		if err != nil {
			return
		}
		parsed, ok := set.firing.(*Template)
		if !ok {
			return // the built-in one
		}
		bytes, counted, err := measured(t.Context(), parsed, data, maxWork)
		if bytes > maxAllocated*counted+aside+64*len(body) {
			t.Errorf("%d KiB for %d units, %v", bytes>>10, counted, err)
		}
	})
}
