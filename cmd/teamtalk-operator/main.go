// SPDX-License-Identifier: Apache-2.0

// Command teamtalk-operator delivers TeamTalkMessages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/teamtalk-io/teamtalk-operator/internal/app"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
)

// usageError is an error of the command line. Its exit code is 2.
type usageError struct{ error }

func main() {
	if err := run(ctrl.SetupSignalHandler(), os.Args[1:]); err != nil {
		if !process.IsLogged(err) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", process.Name, err)
		}
		if errors.As(err, &usageError{}) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	c := managerCommand()
	c.SetArgs(args)
	return c.ExecuteContext(ctx)
}

// managerCommand runs the operator. Its subcommands do the rest.
func managerCommand() *cobra.Command {
	var o app.Options
	var g gateway.ProcessOptions
	c := processCommand(process.Name, "Deliver the TeamTalkMessages of a Kubernetes cluster through TeamTalk", &o,
		func(ctx context.Context) error { return app.Run(ctx, o) })
	c.CompletionOptions.DisableDefaultCmd = true
	c.AddCommand(
		processCommand("gateway", "Serve http_msg_server's HTTP interface, and TeamTalkReceivers", &g,
			func(ctx context.Context) error { return gateway.Run(ctx, g) }))
	return c
}

// options are those of a process.
type options interface {
	Flags(fs *pflag.FlagSet)
	Validate() error
}

// processCommand returns a command that runs a process.
func processCommand(use, short string, o options, run func(context.Context) error) *cobra.Command {
	c := newCommand(use, short)
	o.Flags(c.Flags())
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.Validate(); err != nil {
			return usageError{err}
		}
		return run(c.Context())
	}
	return c
}

// newCommand returns a command without arguments. main prints its errors.
func newCommand(use, short string) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Version: buildinfo.Get().String(),
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unexpected argument %q; see --help", args[0])}
			}
			return nil
		},
	}
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	c.Flags().SortFlags = false
	return c
}
