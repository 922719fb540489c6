// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// most is how many problems of one scenario are shown.
const most = 5

// line is a result in one line.
func (r *result) line() string {
	if r.skipped != "" {
		return fmt.Sprintf("%s: not run: %s", r.name, r.skipped)
	}
	if r.passed() {
		return fmt.Sprintf("%s: passed, %d sent, %d faults, %.0f s", r.name, r.sent, r.faults, r.took.Seconds())
	}
	return fmt.Sprintf("%s: FAILED after %.0f s: %s", r.name, r.took.Seconds(), strings.Join(r.complaints(), "; "))
}

// complaints are what is wrong, in words.
func (r *result) complaints() []string {
	var all []string
	if r.err != nil {
		all = append(all, strings.ReplaceAll(r.err.Error(), "\n", "; "))
	}
	if r.skipped == "" && r.faults == 0 {
		all = append(all, "no fault has happened")
	}
	counts := []struct {
		n    int
		what string
	}{
		{r.missing, "missing"}, {r.duplicated, "duplicated"}, {r.unexpected, "unexpected"}, {r.misordered, "out of order"},
		{r.routesMissing, "not announced"}, {r.routesRepeated, "announced too often"},
	}
	for _, c := range counts {
		if c.n > 0 {
			all = append(all, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	shown := r.problems[:min(most, len(r.problems))]
	all = append(all, shown...)
	if more := len(r.problems) - len(shown); more > 0 {
		all = append(all, fmt.Sprintf("and %d more like these", more))
	}
	return all
}

// print writes the table, and reports whether all has passed. What was not run for
// want of a teamtalk-dev is said, and is no failure of the TeamTalk that was asked for.
func printTable(out io.Writer, results []*result) (passed bool) {
	passed = true
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tsent\tfaults\tmissing\tduplicated\tunexpected\tout of order\troutes missing\troutes "+
		"repeated\tseconds\tresult")
	for _, r := range results {
		verdict := "ok"
		switch {
		case r.skipped != "":
			fmt.Fprintf(t, "%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\t%s\n", r.name, r.skipped)
			continue
		case !r.passed():
			verdict, passed = "FAILED", false
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.0f\t%s\n", r.name, r.sent, r.faults,
			r.missing, r.duplicated, r.unexpected, r.misordered, r.routesMissing, r.routesRepeated, r.took.Seconds(), verdict)
	}
	_ = t.Flush() // standard output that is gone has no reader to tell
	for _, r := range results {
		if r.skipped == "" && !r.passed() {
			fmt.Fprintf(out, "\n%s (%s):\n", r.name, r.clause)
			for _, c := range r.complaints() {
				fmt.Fprintf(out, "  %s\n", c)
			}
		}
	}
	return passed
}
