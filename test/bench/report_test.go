// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"strings"
	"testing"
)

func TestMissed(t *testing.T) {
	for name, test := range map[string]struct {
		name   string
		v      float64
		missed bool
	}{
		"at the bar":                 {"bulk_ratio", 0.85, false},
		"below, if rounded to it":    {"bulk_ratio", 0.8499, true},
		"at most":                    {"rss_mb_100k_ttl", 200, false},
		"above":                      {"rss_mb_100k_ttl", 200.1, true},
		"one for each of 1,000":      {"writes_per_message", 1000. / 1000, false},
		"one more":                   {"writes_per_message", 1001. / 1000, true},
		"ten more":                   {"requests_per_message", 1010. / 1000, false},
		"none":                       {"order_violations", 0, false},
		"one":                        {"order_violations", 1, true},
		"without a bar":              {"idle_p50_ms", 1e9, false},
		"not a number":               {"stream_ratio", math.NaN(), true},
		"not a number, at most":      {"failover_s", math.NaN(), true},
		"at another figure's bar":    {"start_s_100k", 3.5, false},
		"above another figure's bar": {"start_s_100k", 3.51, true},
		"without the other figure":   {"rss_mb_100k", 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &report{}
			r.add(test.name, test.v, 2)
			r.add("start_s_empty", 1.5, 2)
			err := r.missed()
			if (err != nil) != test.missed {
				t.Errorf("got %v, want missed %t", err, test.missed)
			}
			if err != nil && (!strings.Contains(err.Error(), test.name) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("want one line that names %s, got %v", test.name, err)
			}
		})
	}
}

func TestStatistics(t *testing.T) {
	if m := median([]float64{9, 1, 5}); m != 5 {
		t.Errorf("median %v, want 5", m)
	}
	if m := median([]float64{9, 1, 5, 3}); m != 4 {
		t.Errorf("median %v, want 4", m)
	}
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for p, want := range map[int]int{0: 1, 1: 2, 50: 51, 99: 100, 100: 100} {
		if got := percentile(hundred, p); got != want {
			t.Errorf("percentile %d: %d, want %d", p, got, want)
		}
	}
	if got := percentile([]int{7}, 50); got != 7 {
		t.Errorf("percentile of one: %d", got)
	}
}

// TestStreamRatio checks that an operator that writes and sends as fast as bare clients do gets 1.
func TestStreamRatio(t *testing.T) {
	if got := streamRatio(400, 500, 2000); math.Abs(got-1) > 1e-9 {
		t.Errorf("ratio %v, want 1", got)
	}
}

func TestViolations(t *testing.T) {
	for name, test := range map[string]struct {
		stored []int
		want   int
	}{
		"in order":       {[]int{0, 1, 2, 3}, 0},
		"two exchanged":  {[]int{0, 2, 1, 3}, 1},
		"reversed":       {[]int{3, 2, 1, 0}, 3},
		"one missing":    {[]int{0, 1, 3}, 1},
		"one repeated":   {[]int{0, 1, 1, 2, 3}, 1},
		"nothing stored": {nil, 4},
	} {
		if got := violations(test.stored, 4); got != test.want {
			t.Errorf("%s: %d violations, want %d", name, got, test.want)
		}
	}
}

// TestRounds checks that the first round does not count, and that sides take turns.
func TestRounds(t *testing.T) {
	w, r, order := &world{o: options{rounds: 3}}, &report{}, ""
	columns := []column{{"x", 0}}
	r.addMedians(w.rounds(columns, func(round int, s sample) {
		s["x"] = []float64{100, 1, 3, 2}[round]
		inTurn(round, func() { order += "a" }, func() { order += "b" })
	}), columns)
	if len(r.values) != 1 || r.values[0].String() != "x=2" || order != "abbaabba" {
		t.Errorf("got %v, in the order %s", r.values, order)
	}
}

func TestBatch(t *testing.T) {
	b := batch{prefix: "x", n: 5, users: []uint32{10, 11}}
	if got := b.textsOf(1); len(got) != 2 || got[0] != b.text(1) || got[1] != b.text(3) {
		t.Errorf("the second user gets %q", got)
	}
}

func TestNsPerOp(t *testing.T) {
	const out = "BenchmarkEncode-2 \t 100\t 325.5 ns/op\t 3 B/op\nBenchmarkEncodeAll-2 \t 100\t 9 ns/op\nBenchmarkEncode \t 100\t 300 ns/op\n"
	if got := nsPerOp([]byte(out), "Encode"); len(got) != 2 || got[0] != 325.5 || got[1] != 300 {
		t.Errorf("got %v", got)
	}
}
