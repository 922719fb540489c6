// SPDX-License-Identifier: Apache-2.0

// Command teamtalk-dev is a TeamTalk for development: db_proxy and router with an embedded database, fault
// injection, and an inbox in the browser.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
)

func main() {
	options, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "teamtalk-dev:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = devserver.Run(ctx, options)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "teamtalk-dev:", err)
		os.Exit(1)
	}
}
