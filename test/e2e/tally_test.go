// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// TestTally: a store that is not as it should be does not pass.
func TestTally(t *testing.T) {
	batches := []*batch{
		{name: "a", declared: map[string]bool{"a #0": true, "a #1": true}},
		{name: "b", declared: map[string]bool{"b #0": true}},
	}
	row := func(text string) stored { return stored{Text: text, Routed: 1} }
	whole := []stored{row("a #0"), row("a #1"), row("b #0")}
	tests := map[string]struct {
		batches []*batch
		rows    []stored
		want    string // in the error; "": there is none
	}{
		"each once":           {batches, whole, ""},
		"one missing":         {batches, whole[1:], `1 missing, 0 duplicated, 0 unexpected, 0 not announced; such as ["a #0"]`},
		"one twice":           {batches, append(whole[:3:3], row("b #0")), "0 missing, 1 duplicated"},
		"one undeclared":      {batches, append(whole[:3:3], row("c")), "0 duplicated, 1 unexpected"},
		"one not announced":   {batches, append(whole[:2:2], stored{Text: "b #0"}), "0 unexpected, 1 not announced"},
		"nothing was to come": {nil, nil, "nothing was declared"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			err := framework.Try(func() { tally(tc.batches, tc.rows) })
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestCutTag(t *testing.T) {
	for image, want := range map[string][2]string{
		"registry.example.com:5000/x:v1": {"registry.example.com:5000/x", "v1"},
		"x:v1":                           {"x", "v1"},
	} {
		if name, tag, ok := cutTag(image); !ok || name != want[0] || tag != want[1] {
			t.Errorf("%s is %s and %s, %v", image, name, tag, ok)
		}
	}
	for _, image := range []string{"", "x", "registry.example.com:5000/x"} {
		if _, _, ok := cutTag(image); ok {
			t.Errorf("%s has a tag", image)
		}
	}
}

// TestPairs checks that probes are between others than the sender, and that no pair comes twice.
func TestPairs(t *testing.T) {
	seen := map[[2]int64]bool{}
	const all = users * (users - 1) / 2
	for i := range all {
		from, to := pair(i)
		if from <= sender || to <= from || to >= firstUser+users || seen[[2]int64{int64(from), int64(to)}] {
			t.Fatalf("pair %d is %d and %d", i, from, to)
		}
		seen[[2]int64{int64(from), int64(to)}] = true
	}
	if from, to := pair(all); !seen[[2]int64{int64(from), int64(to)}] || from != firstUser {
		t.Errorf("pair %d is %d and %d", all, from, to)
	}
}

// TestWithin: a takeover that took too long, or that never was, is not ok.
func TestWithin(t *testing.T) {
	w := &world{gaps: map[string][]time.Duration{
		"once": {19 * time.Second}, "slowly": {21 * time.Second}, "thrice": {9 * time.Second, time.Second, 30 * time.Second},
	}}
	within := func(how string, bar time.Duration) (seen string, err error) {
		err = framework.Try(func() { seen = w.within(how, bar)(t.Context()) })
		return seen, err
	}
	tests := map[string]struct {
		bar  time.Duration
		seen string
		ok   bool
	}{
		"once":   {20 * time.Second, "19.0 s", true},
		"slowly": {20 * time.Second, "", false},
		"thrice": {10 * time.Second, "9.0 s (1.0 to 30.0 s)", true},
		"never":  {time.Hour, "", false},
	}
	for how, tc := range tests {
		if seen, err := within(how, tc.bar); seen != tc.seen || (err == nil) != tc.ok {
			t.Errorf("%s: %q, %v", how, seen, err)
		}
	}
	w.Report = true
	if seen, err := within("slowly", 20*time.Second); seen != "21.0 s, over its bar" || err != nil {
		t.Errorf("reported: %q, %v", seen, err)
	}
	if _, err := within("never", time.Hour); err == nil {
		t.Error("what never was is reported as if it had been")
	}
}

// TestProbesAreDue: there are pairs for all probes until the bar of a kill.
func TestProbesAreDue(t *testing.T) {
	for i := range users * (users - 1) / 2 {
		if due(i+1) <= due(i) {
			t.Fatalf("probe %d is due after %s, the one before it after %s", i+1, due(i+1), due(i))
		}
	}
	if due(0) != 0 || due(users*(users-1)/2) < barKilled {
		t.Errorf("the first probe is due after %s, and there are pairs until %s", due(0), due(users*(users-1)/2))
	}
}
