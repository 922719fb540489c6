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
		"none, client (show the message) or server (have the API server check it, too)")
	c.Flags().Lookup("dry-run").NoOptDefVal = dryRunClient
	_ = c.RegisterFlagCompletionFunc("dry-run", // the flag exists
		cobra.FixedCompletions(dryRuns, cobra.ShellCompDirectiveNoFileComp))
}

func checkDryRun(value string) error {
	if !slices.Contains(dryRuns, value) {
		return kube.Usagef("--dry-run=%s is unknown: use none, client or server", value)
	}
	return nil
}
