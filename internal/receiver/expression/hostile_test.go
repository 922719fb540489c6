// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"encoding/json"
	"fmt"
	"runtime/metrics"
	"strings"
	"testing"
)

// hostileBody is as much, and as bad, as a body can hold.
func hostileBody() string {
	var names strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&names, `"name %d":%d,`, i, i)
	}
	return `{"a":"` + strings.Repeat("a", 400_000) + `","b":"` + strings.Repeat("ab é", 10_000) + `","short":"` + strings.Repeat("a", 2000) +
		`","list":[` + strings.Repeat("1,", 30_000) + `1],"few":[` + strings.Repeat("1,", 500) + `1],"texts":["` + strings.Repeat(`a","`, 5000) + `a"],"deep":` +
		strings.Repeat("[", 190) + strings.Repeat("]", 190) + `,"map":{` + names.String() + `"last":""},"zone":"Asia/Shanghai","time":"2026-03-01T16:05:00Z","pattern":"(a?){90}(b?){90}c"}`
}

// hostileExpressions take as much as they can.
func hostileExpressions() map[string]string {
	nested := func(depth int, list, inner string) string {
		text := inner
		for i := range depth {
			text = fmt.Sprintf("%s.all(x%d, %s)", list, i, text)
		}
		return text
	}
	chain := func(times int, first, step string) string { return first + strings.Repeat(step, times) }
	loop := func(inner string) string { return nested(3, "payload.list", inner) }
	return map[string]string{
		"loops in loops":               nested(4, "payload.list", "true"),
		"loops that do nothing":        nested(3, "payload.list", "payload.list.filter(y, false).size() == 0"),
		"loops that count":             nested(3, "payload.list", "!payload.list.exists_one(y, false)"),
		"errors that are ignored":      nested(4, "payload.list", "x0.a || true"),
		"presence tests":               loop("!has(payload.map.x)" + strings.Repeat(" && !has(payload.map.x)", 150)),
		"names in a row":               loop("!has(payload" + strings.Repeat(".map", 30) + ".x) || true"),
		"selects by index":             loop("payload.deep" + strings.Repeat("[0]", 30) + ".size() >= 0"),
		"constants":                    loop("[" + strings.Repeat("1,", 1900) + "1].size() > 0"),
		"choices":                      loop(strings.Repeat("true ? true : ", 200) + "true"),
		"conditions":                   loop(strings.Repeat("true && ", 400) + "true"),
		"optional values":              loop("payload.?map.?x" + strings.Repeat(".or(payload.?map.?x)", 120) + ".orValue(true)"),
		"lists that double":            loop(`(payload.few + payload.few + payload.few + payload.few).size() > 0`),
		"lists that double, by choice": chain(4, "[payload.list]", ".map(a, true ? a"+strings.Repeat(" + a", 200)+" : a)") + ".size() > 0",
		"lists of lists":               chain(4, "[payload.few]", ".map(a, ["+strings.Repeat("a, ", 250)+"a])") + " == [[[[]]]]",
		"lists of lists are compared":  chain(2, "[payload.few]", ".map(a, ["+strings.Repeat("a, ", 250)+"a])") + " == " + chain(2, "[payload.few]", ".map(a, ["+strings.Repeat("a, ", 250)+"a])"),
		"lists of lists are searched":  chain(3, "[payload.few]", ".map(a, ["+strings.Repeat("a, ", 250)+"a])") + ".exists(x, x == dyn(x))",
		"a sum of many lists":          "(" + chain(100, "payload.few", " + [1]") + ").all(x, payload.few.all(y, (" + chain(100, "payload.few", " + [1]") + ").all(z, true)))",
		"texts that double":            chain(4, "[payload.a]", ".map(a, a"+strings.Repeat(" + a", 200)+")") + ".size() > 0",
		"texts that are added":         loop(`(payload.short + payload.short).size() > 0`),
		"texts are counted":            loop("payload.a.size() > 0"),
		"texts are compared":           loop("payload.a == payload.a"),
		"texts are ordered":            loop("payload.a <= payload.a"),
		"texts are searched":           loop("!payload.a.contains(payload.short + 'b')"),
		"a position in a text":         loop("payload.a.indexOf(payload.short + 'b') < 0"),
		"a last position in a text":    loop("payload.a.lastIndexOf('b' + payload.short) < 0"),
		"texts are made lower case":    loop("payload.b.lowerAscii().upperAscii().trim() != ''"),
		"characters of texts":          loop("payload.b.charAt(2) != '' && payload.b.substring(3) != ''"),
		"replacement by itself":        `payload.a.replace("", payload.a) != ""`,
		"replacement that multiplies":  chain(4, "[payload.short]", `.map(a, a.replace("a", "`+strings.Repeat("a", 800)+`"))`) + ".size() > 0",
		"replacements":                 loop(`payload.short.replace("a", "aa") != ""`),
		"a split into characters":      loop(`payload.a.split("").size() > 0`),
		"splits are kept":              `payload.list.map(x, payload.short.split("")).size() > 0`,
		"joins":                        loop(`payload.texts.join(payload.short) != ""`),
		"a join of large texts":        `payload.texts.map(x, payload.a).join(payload.a) != ""`,
		"large texts are added":        `payload.texts.map(x, payload.a + payload.a).size() > 0`,
		"a pattern":                    loop(`payload.b.matches("(a|b|ab)*(c|d|cd)*e") || true`),
		"a pattern with many states":   loop(`payload.short.matches("(a?){90}(a?){90}(a?){90}(a?){90}b".substring(0)) || true`),
		"a pattern from the body":      loop(`payload.short.matches(payload.pattern) || true`),
		"patterns":                     `payload.list.all(x, !"a".matches("[" + "\\pL".replace("L", "L") + "]{9}" + string(payload.list.size()))) && payload.map.all(k, !"a".matches(k + "\\pL\\pL\\pL\\pL\\pL\\pL\\pL\\pL"))`,
		"classes without case":         `payload.map.all(k, !"a".matches("(?i)[é-𞥃]" + k))`,
		"maps are compared":            loop("payload.map == payload.map"),
		"the body is compared":         loop("payload == notification"),
		"the body is searched for":     loop("!(payload.map in [payload.map])"),
		"a list is searched":           loop("!(2 in payload.list)"),
		"the body is kept":             `payload.list.map(x, payload.list.map(y, payload)).size() > 0`,
		"lists are kept":               `payload.list.map(x, payload.list.filter(y, true)).size() > 0`,
		"maps are kept":                `payload.list.map(x, {"a": {"b": [x, x]}, "c": {"d": [x, x]}}).size() > 0`,
		"a map with many names":        loop("{" + strings.Repeat(`"a": 1, `, 400) + `"b": 1}.size() > 0`),
		"recipients":                   `payload.list.map(x, user(1)).size() > 0 && ` + loop("[user(1), group(2)].size() == 2"),
		"time zones":                   loop(`timestamp(payload.time).getHours(payload.zone) == 0`),
		"times":                        loop(`timestamp(payload.time) + duration("1h") > timestamp(payload.time)`),
		"texts of numbers":             loop(`int(string(x0)) == 1 && double(string(x0)) == 1.0`),
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// maxAllocated is how many bytes may be allocated for a unit of work, even if they are freed, and aside what the last
// call, which is over a limit, and what else runs may allocate beside.
const maxAllocated, aside = 512, 8 << 20

// TestHostileExpressions: each ends, and allocates in proportion to the work that is counted.
func TestHostileExpressions(t *testing.T) {
	payload := decoded(t, hostileBody())
	for name, text := range hostileExpressions() {
		t.Run(name, func(t *testing.T) {
			set, err := Compile(generic(text, "", ""))
			if err != nil {
				t.Fatal(err)
			}
			e := set.Evaluate(t.Context(), payload)
			before := allocated()
			e.Keep(payload)
			bytes, work := int(allocated()-before), bodyWork-e.work
			if bytes > maxAllocated*work+aside {
				t.Errorf("%d KiB for %d units, %v", bytes>>10, work, e.Faults())
			}
			if work > maxWork+evaluationWork {
				t.Errorf("%d units", work)
			}
			if len(e.Faults()) != 1 || e.Faults()[0].Err.Error() != "spec.filter: "+errWork.Error() {
				t.Errorf("%v after %d units: it is not bad enough to show anything", e.Faults(), work)
			}
		})
	}
}

// TestAllAlertsShareTheWork: a body of many alerts takes little more than the work of a body.
func TestAllAlertsShareTheWork(t *testing.T) {
	payload := decoded(t, hostileBody())
	set, err := Compile(generic(hostileExpressions()["loops in loops"], `"key"`, `[user(1)]`))
	if err != nil {
		t.Fatal(err)
	}
	e := set.Evaluate(t.Context(), payload)
	const alerts = 1000
	for range alerts {
		if !e.Keep(payload) {
			t.Fatal("an alert is not sent")
		}
	}
	if f := e.Faults(); e.work != 0 || len(f) != 1 || f[0].Count != alerts {
		t.Errorf("%d work is left, %+v", e.work, f)
	}
	if key, keyed := e.Key(payload); keyed || len(e.Recipients(payload)) > 0 || len(e.Faults()) != 3 {
		t.Errorf("%q, %+v", key, e.Faults())
	}
}

// FuzzExpression: any expression on any body ends, and its work is counted.
func FuzzExpression(f *testing.F) {
	for _, text := range hostileExpressions() {
		f.Add(text, `{"a":"aaa","list":[1,2,3],"map":{"x":1}}`)
	}
	for _, text := range []string{`payload.a == "b" ? [user(1)] : []`, `payload.?a.orValue("x") + string(payload.n)`, `payload.all(k, payload[k] == k)`} {
		f.Add(text, `{"a":"b","n":5.0}`)
	}
	f.Fuzz(func(t *testing.T, text, body string) {
		if !json.Valid([]byte(body)) || len(body) > 10_000 {
			return
		}
		payload := decoded(t, body)
		set, err := Compile(generic(text, text, text))
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q", err)
		}
		e := set.Evaluate(t.Context(), payload)
		before := allocated()
		e.Keep(payload)
		e.Key(payload)
		e.Recipients(payload)
		if bytes, work := int(allocated()-before), bodyWork-e.work; bytes > maxAllocated*work+aside || work > 3*(maxWork+evaluationWork) {
			t.Errorf("%d KiB for %d units", bytes>>10, work)
		}
	})
}

// TestHostileSources: what takes long to compile is refused, or does not.
func TestHostileSources(t *testing.T) {
	for name, text := range hostileSources() {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			_, _ = Compile(generic(text, "", ""))
			if bytes := allocated() - before; bytes > 64<<20 {
				t.Errorf("%d KiB", bytes>>10)
			}
		})
	}
}

func hostileSources() map[string]string {
	repeat := func(before, inner, after string) string {
		n := (maxSource - len(inner)) / (len(before) + len(after))
		return strings.Repeat(before, n) + inner + strings.Repeat(after, n)
	}
	return map[string]string{
		"parentheses":        repeat("(", "true", ")"),
		"lists":              repeat("[", "1", "]"),
		"maps":               repeat("{1:", "1", "}"),
		"negations":          repeat("!", "true", ""),
		"minus":              repeat("-", "1", ""),
		"choices":            repeat("true ? ", "true", " : true"),
		"calls":              repeat("size(", "payload", ")"),
		"sums":               repeat("1 + ", "1", ""),
		"loops":              repeat("payload.all(a, ", "true", ")"),
		"maps of maps":       repeat("", "payload", ".map(a,a)"),
		"filters of filters": repeat("", "payload", ".filter(a,a)"),
		"half of it":         repeat("((", "true", ")"),
		"quotes":             strings.Repeat(`"`, maxSource-1),
		"optional values":    repeat("", "payload", ".?a"),
		"names":              repeat("", "payload", ".a"),
		"words":              strings.Repeat("a ", maxSource/2),
		"operators":          strings.Repeat("&& || ", maxSource/6),
		"beyond ASCII":       `"` + strings.Repeat("𞥃", maxSource-2) + `"`,
	}
}

// BenchmarkHostile: docs/explanation/benchmarks.md states the worst of it.
func BenchmarkHostile(b *testing.B) {
	payload := decoded(b, hostileBody())
	for name, text := range hostileExpressions() {
		set, err := Compile(generic(text, "", ""))
		if err != nil {
			b.Fatal(err)
		}
		b.Run("evaluate/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Evaluate(b.Context(), payload).Keep(payload)
			}
		})
	}
	for name, text := range hostileSources() {
		b.Run("compile/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Compile(generic(text, "", ""))
			}
		})
	}
}

// BenchmarkFilter is what an ordinary filter takes for an alert.
func BenchmarkFilter(b *testing.B) {
	payload := decoded(b, body)
	set, err := Compile(generic(`payload.status == "firing" && payload.labels.team != "test"`, "", ""))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		set.Evaluate(b.Context(), payload).Keep(payload)
	}
}
