// SPDX-License-Identifier: Apache-2.0

// Command chaos shows by numbered messages, counted in TeamTalk's store, that each
// of them arrives exactly once, whatever goes wrong: see docs/chaos.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/klog/v2"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// Sizes of the two forms, in messages of each scenario.
const (
	longSize  = 200
	shortSize = 40
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	passed, err := chaos(ctx, os.Args[1:])
	if err != nil && !errors.Is(err, pflag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		os.Exit(2)
	}
	if !passed {
		os.Exit(1)
	}
}

func chaos(ctx context.Context, args []string) (passed bool, err error) {
	quiet()
	flags := pflag.NewFlagSet("chaos", pflag.ContinueOnError)
	names := flags.String("scenario", "", "run only these, by `name`, separated by commas")
	short := flags.Bool("short", false, "run the short form: fewer messages, and not every scenario")
	list := flags.Bool("list", false, "show what there is, and run nothing")
	mutants := flags.Bool("mutants", false, "remove one protection of the operator after another: its scenario must fail")
	if err := flags.Parse(args); err != nil {
		return errors.Is(err, pflag.ErrHelp), err
	}
	chosen, err := choose(*names, *short)
	if err != nil {
		return false, err
	}
	if *list {
		printList(chosen)
		return true, nil
	}
	dir, err := os.MkdirTemp("", "teamtalk-chaos-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	s := &suite{size: longSize, alones: alones, log: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
	}}
	if *short {
		s.size, s.alones = shortSize, shortAlones
	}
	if s.own, err = ownTarget(os.Getenv); err != nil {
		return false, err
	}
	if *mutants {
		return runMutants(ctx, s, dir, *names)
	}
	if s.binary, err = build(ctx, dir); err != nil {
		return false, err
	}
	began := time.Now()
	results, err := s.run(ctx, chosen)
	if err != nil {
		return false, err
	}
	passed = printTable(os.Stdout, results)
	fmt.Printf("\n%d scenarios, %d messages, %.0f s\n", len(results), total(results), time.Since(began).Seconds())
	return passed, nil
}

// quiet keeps the clients that the suite itself uses from logging.
func quiet() {
	logf.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
}

func total(results []*result) (n int) {
	for _, r := range results {
		n += r.sent
	}
	return n
}

func printList(all []scenario) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range all {
		needs := ""
		if s.needsDev {
			needs = " (needs teamtalk-dev)"
		}
		fmt.Fprintf(t, "%s\t%s%s\n", s.name, s.clause, needs)
	}
	_ = t.Flush() // as above: nobody to tell
}
