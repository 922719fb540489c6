// SPDX-License-Identifier: Apache-2.0

// Command chaos counts in TeamTalk's store that each numbered message arrives once: see docs/explanation/chaos.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// Sizes of the two forms, in messages of each scenario.
const (
	longSize  = 200
	shortSize = 40
)

func main() {
	framework.RunProgram("chaos", func(ctx context.Context) (bool, error) { return chaos(ctx, os.Args[1:]) })
}

func chaos(ctx context.Context, args []string) (passed bool, err error) {
	flags := pflag.NewFlagSet("chaos", pflag.ContinueOnError)
	names := flags.String("scenario", "",
		"comma-separated `names` of the scenarios to run, or with --mutants of those whose mutants to run")
	short := flags.Bool("short", false, "run fewer scenarios, with fewer messages")
	list := flags.Bool("list", false, "list the scenarios and exit")
	mutants := flags.Bool("mutants", false, "remove one protection of the operator at a time; its scenario must fail")
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	if flags.NArg() > 0 {
		return false, fmt.Errorf("unexpected argument %q: choose scenarios with --scenario", flags.Arg(0))
	}
	var chosen []scenario
	if !*mutants { // which may name tests
		if chosen, err = choose(*names, *short); err != nil {
			return false, err
		}
	}
	if *list {
		return true, printList(chosen)
	}
	dir, err := os.MkdirTemp("", "teamtalk-chaos-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	s := &suite{size: longSize, clusters: maxClusters, log: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}}
	if *short {
		s.size, s.clusters = shortSize, shortClusters
	}
	if s.own, err = ownTarget(os.Getenv); err != nil {
		return false, err
	}
	if *mutants {
		return runMutants(ctx, s, dir, *names)
	}
	if s.binary, err = framework.Build(ctx, "teamtalk-operator", dir); err != nil {
		return false, err
	}
	began := time.Now()
	results, err := s.run(ctx, chosen)
	if err != nil {
		return false, err
	}
	passed = printTable(os.Stdout, results)
	sent := 0
	for _, r := range results {
		sent += r.sent
	}
	fmt.Printf("\n%d scenarios, %d messages, %.0f s\n", len(results), sent, time.Since(began).Seconds())
	return passed, nil
}

func printList(all []scenario) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range all {
		needs := ""
		if s.needsDev {
			needs = " (needs teamtalk-dev)"
		}
		fmt.Fprintf(t, "%s\t%s%s\n", s.name, s.clause, needs)
	}
	return t.Flush()
}
