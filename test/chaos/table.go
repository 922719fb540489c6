// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

const maxProblems = 5

func (r *result) line() string {
	if r.skipped != "" {
		return fmt.Sprintf("%s: not run: %s", r.name, r.skipped)
	}
	if r.passed() {
		return fmt.Sprintf("%s: passed, %d sent, %d faults, %.0f s", r.name, r.sent, r.faults, r.took.Seconds())
	}
	return fmt.Sprintf("%s: FAILED after %.0f s: %s", r.name, r.took.Seconds(), strings.Join(r.complaints(), "; "))
}

func (r *result) complaints() []string {
	var all []string
	if r.err != nil {
		all = append(all, strings.ReplaceAll(r.err.Error(), "\n", "; "))
	}
	if r.skipped == "" && r.faults == 0 {
		all = append(all, "no fault has happened")
	}
	words := []string{"missing", "duplicated", "unexpected", "out of order", "not announced", "announced too often"}
	for i, n := range r.counts() {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, words[i]))
		}
	}
	shown := r.problems[:min(maxProblems, len(r.problems))]
	all = append(all, shown...)
	if more := len(r.problems) - len(shown); more > 0 {
		all = append(all, fmt.Sprintf("and %d more like these", more))
	}
	return all
}

// printTable writes the table, and reports whether all that was run has passed.
func printTable(out io.Writer, results []*result) (passed bool) {
	passed = true
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tsent\tfaults\tmissing\tduplicated\tunexpected\tout of order\troutes missing\troutes "+
		"repeated\tseconds\tresult")
	for _, r := range results {
		verdict := "ok"
		switch {
		case r.skipped != "":
			fmt.Fprintf(t, "%s%s%s\n", r.name, strings.Repeat("\t-", 9)+"\t", r.skipped)
			continue
		case !r.passed():
			verdict, passed = "FAILED", false
		}
		fmt.Fprintf(t, "%s\t%d\t%d%s\t%.0f\t%s\n", r.name, r.sent, r.faults, r.cells(6), r.took.Seconds(), verdict)
	}
	_ = t.Flush() // standard output that is gone has no reader
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

// cells are the first n counts as columns, each after a tab.
func (t *tally) cells(n int) string {
	var b strings.Builder
	for _, count := range t.counts()[:n] {
		fmt.Fprintf(&b, "\t%d", count)
	}
	return b.String()
}
