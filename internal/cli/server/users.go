// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

const usersExample = `  # All users who have not left TeamTalk
  kubectl teamtalk users

  # The id of one, by the exact login name
  kubectl teamtalk users zhang.san

  # Through a forwarded port
  kubectl teamtalk users --db-proxy 127.0.0.1:10600`

const groupsExample = `  # The groups of the default sender of the TeamTalkServer
  kubectl teamtalk groups

  # The id of one, by its exact name
  kubectl teamtalk groups oncall

  # The groups of another sender
  kubectl teamtalk groups --sender 5`

// directoryCommand is users or groups.
type directoryCommand struct {
	*kube.Access

	target targetFlags
	sender kube.ID
	output kube.Output
}

// NewUsersCommand returns the command users.
func NewUsersCommand(a *kube.Access) *cobra.Command {
	d := &directoryCommand{Access: a}
	c := &cobra.Command{
		Use: "users [NAME]", Short: "List ids and login names of TeamTalk's users",
		Long: "List ids and login names of TeamTalk's users, as its directory shows them now.\n\n" +
			fmt.Sprintf(reachLong, "kubectl teamtalk users"),
		Example: usersExample, Args: kube.MaxArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	d.target.addFlags(a, c)
	d.output.AddFlag(c, kube.DataFormats)
	c.RunE = func(c *cobra.Command, args []string) error { return d.run(c.Context(), args, d.printUsers) }
	return c
}

// NewGroupsCommand returns the command groups.
func NewGroupsCommand(a *kube.Access) *cobra.Command {
	d := &directoryCommand{Access: a}
	c := &cobra.Command{
		Use: "groups [NAME]", Short: "List ids and names of the groups that a sender is a member of",
		Long: "List ids, names and numbers of members of the groups that a sender is a member of.\n" +
			"A message can go to these. TeamTalk has no list of all groups.\n\n" +
			fmt.Sprintf(reachLong, "kubectl teamtalk groups"),
		Example: groupsExample, Args: kube.MaxArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	d.target.addFlags(a, c)
	c.Flags().Var(&d.sender, "sender", "`id` of a sender of the TeamTalkServer (default its senders.default)")
	d.output.AddFlag(c, kube.DataFormats)
	c.RunE = func(c *cobra.Command, args []string) error { return d.run(c.Context(), args, d.printGroups) }
	return c
}

func (d *directoryCommand) run(
	ctx context.Context, args []string,
	show func(ctx context.Context, c *dbproxy.Client, asker uint32, name string) error,
) error {
	if err := d.output.Validate(); err != nil {
		return err
	}
	t, err := d.target.find(ctx, d.Access)
	if err != nil {
		return err
	}
	asker, err := t.sender(d.sender)
	if err != nil {
		return err
	}
	c, stop, err := t.connect(ctx)
	if err != nil {
		return err
	}
	defer stop()
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	return show(ctx, c, asker, name)
}

func (d *directoryCommand) printUsers(ctx context.Context, c *dbproxy.Client, asker uint32, name string) error {
	users, err := readUsers(ctx, c, asker)
	if err != nil {
		return err
	}
	if name != "" {
		u, err := findUser(users, name)
		if err != nil {
			return err
		}
		users = []user{u}
	}
	if !d.output.IsTable() {
		return d.output.PrintData(d.Out, users)
	}
	table := &kube.Table{Header: []string{"ID", "NAME"}}
	for _, u := range users {
		table.Add(strconv.FormatUint(uint64(u.ID), 10), u.Name)
	}
	return table.Print(d.Out)
}

func (d *directoryCommand) printGroups(ctx context.Context, c *dbproxy.Client, asker uint32, name string) error {
	groups, err := readGroups(ctx, c, asker)
	if err != nil {
		return err
	}
	if name != "" {
		g, err := findGroup(groups, name)
		if err != nil {
			return err
		}
		groups = []group{g}
	}
	if !d.output.IsTable() {
		return d.output.PrintData(d.Out, groups)
	}
	if len(groups) == 0 {
		fmt.Fprintf(d.ErrOut, "user %d is a member of no group\n", asker)
		return nil
	}
	table := &kube.Table{Header: []string{"ID", "NAME", "MEMBERS"}}
	if d.output.IsWide() {
		table.Header = append(table.Header, "CREATOR")
	}
	for _, g := range groups {
		row := []string{strconv.FormatUint(uint64(g.ID), 10), g.Name, strconv.Itoa(g.Members)}
		if d.output.IsWide() {
			row = append(row, strconv.FormatUint(uint64(g.Creator), 10))
		}
		table.Add(row...)
	}
	return table.Print(d.Out)
}
