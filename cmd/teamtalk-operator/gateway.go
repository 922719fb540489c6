// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
)

// gatewayCommand runs a gateway process.
func gatewayCommand() *cobra.Command {
	var o gateway.ProcessOptions
	c := newCommand("gateway", "Serve http_msg_server's HTTP interface, and TeamTalkReceivers")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.Validate(); err != nil {
			return usageError{err}
		}
		return gateway.Run(c.Context(), o)
	}
	o.Flags(c.Flags())
	return c
}
