// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/teamtalk-io/teamtalk-operator/internal/buildinfo"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/message"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/receiver"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/server"
)

// completionProgram is the name under which kubectl runs a plugin to complete its arguments.
const completionProgram = "kubectl_complete-teamtalk"

const rootLong = `Send TeamTalk messages, and show their results.

The commands work with the TeamTalkMessages, TeamTalkServers and TeamTalkReceivers of a cluster, as kubectl does. Some
also connect to TeamTalk, from where they run; their help says so.`

// Run runs the plugin with the arguments of a process, and returns its exit code.
func Run(ctx context.Context, args []string, streams genericclioptions.IOStreams) int {
	log.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	a := kube.NewAccess(streams)
	c, args := NewCommand(a), commandArgs(args)
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		visit(c, kube.CompleteFlags)
	}
	c.SetArgs(args)
	err := c.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil && kube.Code(err) == kube.CodeError {
		err = kube.Errorf(kube.CodeInterrupted, "interrupted")
	}
	if err != nil {
		fmt.Fprintf(streams.ErrOut, "error: %s\n", a.Explain(err))
	}
	return kube.Code(err)
}

// commandArgs returns the arguments of the root command.
func commandArgs(args []string) []string {
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == completionProgram {
		return append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	}
	return args[1:]
}

// NewCommand returns the root command. Run prints its errors.
func NewCommand(a *kube.Access) *cobra.Command {
	c := &cobra.Command{
		Use: "kubectl-teamtalk", Short: "Send TeamTalk messages, and show their results", Long: rootLong,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: kube.Command},
		Version:       buildinfo.Get().String(),
		SilenceErrors: true, SilenceUsage: true,
	}
	c.CompletionOptions.DisableDefaultCmd = true
	c.SetIn(a.In)
	c.SetOut(a.Out)
	c.SetErr(a.ErrOut)
	c.SetFlagErrorFunc(kube.FlagError)
	a.AddFlags(c.PersistentFlags())
	a.RegisterCompletions(c)
	c.AddCommand(
		message.NewSendCommand(a), message.NewStatusCommand(a), message.NewRetryCommand(a), message.NewResendCommand(a),
		server.NewServersCommand(a), server.NewDoctorCommand(a), server.NewHistoryCommand(a),
		server.NewUsersCommand(a), server.NewGroupsCommand(a),
		receiver.NewRenderCommand(a), receiver.NewTestCommand(a),
	)
	visit(c, checkArgs)
	return c
}

// visit calls a function with a command and all below it.
func visit(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		visit(sub, do)
	}
}

// checkArgs makes a command refuse empty values, and one that only groups others what is none of these.
func checkArgs(c *cobra.Command) {
	c.Flags().SortFlags = false
	check := c.Args
	if c.HasSubCommands() {
		c.SuggestionsMinimumDistance = 2
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		check = rejectUnknown
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := kube.CheckEmpty(c, args); err != nil || check == nil {
			return err
		}
		return check(c, args)
	}
}

func rejectUnknown(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	advice := "see --help"
	if similar := c.SuggestionsFor(args[0]); len(similar) > 0 {
		advice = "did you mean \"" + strings.Join(similar, "\" or \"") + "\"?"
	}
	return kube.Usagef("%q has no command %q: %s", c.CommandPath(), args[0], advice)
}
