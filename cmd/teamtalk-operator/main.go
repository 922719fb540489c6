// Command teamtalk-operator delivers TeamTalkMessages.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/teamtalk-io/teamtalk-operator/internal/app"
)

func main() {
	var o app.Options
	flags := pflag.NewFlagSet(app.Name, pflag.ContinueOnError)
	flags.SortFlags = false
	flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "%s delivers TeamTalkMessages of a Kubernetes cluster through TeamTalk.\n\nFlags:\n%s",
			app.Name, flags.FlagUsages())
	}
	o.Flags(flags)
	err := flags.Parse(os.Args[1:])
	switch {
	case errors.Is(err, pflag.ErrHelp):
		return
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	}
	if err == nil {
		err = o.Validate()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", app.Name, err)
		os.Exit(2)
	}
	if err := app.Run(ctrl.SetupSignalHandler(), o); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", app.Name, err)
		os.Exit(1)
	}
}
