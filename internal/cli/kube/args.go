// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ExactArgs permits one argument, which is described for the error.
func ExactArgs(what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return Usagef("%q takes %s as its only argument, and %d are given; see --help", c.CommandPath(), what, len(args))
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

// CheckEmpty returns the usage error of an argument or a flag that is given without a value. The cause is often a
// variable that is not set, and the command would do something else than meant.
func CheckEmpty(c *cobra.Command, args []string) (err error) {
	if slices.Contains(args, "") {
		return Usagef("an argument of %q is empty: is a variable of the shell not set?", c.CommandPath())
	}
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, isList := f.Value.(pflag.SliceValue); isList {
			values = list.GetSlice()
		}
		isBlank := func(value string) bool { return strings.TrimSpace(value) == "" }
		if f.Changed && (len(values) == 0 || slices.ContainsFunc(values, isBlank)) {
			err = Usagef("--%s is given an empty value: is a variable of the shell not set?", f.Name)
		}
	})
	return err
}

// FlagError is the usage error of a flag that cannot be parsed.
func FlagError(c *cobra.Command, err error) error {
	advice := fmt.Sprintf("see \"%s --help\"", c.CommandPath())
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		flag := invalid.GetFlag()
		switch byName := flag.Name + "-name"; {
		case flag.Value.Type() == "duration":
			advice = "use a duration such as 90s or 24h"
		case errors.Is(err, errNoID) && c.Flags().Lookup(byName) != nil:
			advice = "for a name, use --" + byName
		}
	}
	return UsageError(fmt.Errorf("%w: %s", err, advice))
}
