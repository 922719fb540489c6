package main

import (
	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/app"
)

// gatewayCommand is the HTTP gateway that stands alone.
func gatewayCommand() *cobra.Command {
	var o app.GatewayOptions
	c := newCommand("gateway", "Serve http_msg_server's HTTP interface, and TeamTalkReceivers")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := o.Validate(); err != nil {
			return misuse{err}
		}
		return app.RunGateway(c.Context(), o)
	}
	o.Flags(c.Flags())
	return c
}
