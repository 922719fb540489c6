// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

func TestMissedReadsIn(t *testing.T) {
	const line = "2026-01-02T03:04:05Z\tINFO\treads\tlooked for reads that were missed\t"
	for name, test := range map[string]struct {
		log  string
		want missedReads
	}{
		"nothing":     {"", missedReads{}},
		"not yet":     {"2026-01-02T03:04:05Z\tINFO\tstarts\n", missedReads{}},
		"half a line": {line + `{"unread": 3`, missedReads{}},
		"whole lines": {line + `{"unread": 3}` + "\nx\n" + line + `{"unread": 4, "maybeRead": 1, "counters": 9, "seconds": 0.5}` + "\nx\n",
			missedReads{4, 1, 9, 0.5}},
		"one and a half": {line + `{"unread": 3}` + "\n" + line + `{"unr`, missedReads{Unread: 3}},
	} {
		if got := missedReadsIn(test.log); got != test.want {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
