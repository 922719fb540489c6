// SPDX-License-Identifier: Apache-2.0

package kube

import "github.com/spf13/cobra"

// ExactArgs permits one argument, which is described for the error.
func ExactArgs(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return Usagef("%q takes %s, and %d arguments are given; see --help", c.CommandPath(), what, len(args))
		}
		return nil
	}
}

// MaxArgs permits some arguments at most.
func MaxArgs(most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > most {
			return Usagef("unexpected argument %q of %q; see --help", args[most], c.CommandPath())
		}
		return nil
	}
}
