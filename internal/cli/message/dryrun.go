// SPDX-License-Identifier: Apache-2.0

package message

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

// Values of --dry-run.
const dryRunNone, dryRunClient, dryRunServer = "none", "client", "server"

var dryRuns = []string{dryRunNone, dryRunClient, dryRunServer}

func addDryRun(c *cobra.Command, value *string) {
	c.Flags().StringVar(value, "dry-run", dryRunNone,
		"`mode`: none, client (show the message) or server (have the API server check it, too)")
	c.Flags().Lookup("dry-run").NoOptDefVal = dryRunClient
	_ = c.RegisterFlagCompletionFunc("dry-run", // the flag exists
		cobra.FixedCompletions(dryRuns, cobra.ShellCompDirectiveNoFileComp))
}

// dryRunArgs checks arguments. It explains "--dry-run server", whose value is taken for an argument.
func dryRunArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		i := slices.IndexFunc(args, func(arg string) bool { return slices.Contains(dryRuns, arg) })
		if len(args) > 1 && i >= 0 && c.Flags().Changed("dry-run") {
			return kube.Usagef("the value of --dry-run follows an equals sign: use --dry-run=%s", args[i])
		}
		return check(c, args)
	}
}

func checkDryRun(value string) error {
	if !slices.Contains(dryRuns, value) {
		return kube.Usagef("--dry-run=%s is unknown: use none, client or server", value)
	}
	return nil
}
