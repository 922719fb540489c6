// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
)

const usersExample = `  # All users who have not left TeamTalk
  kubectl teamtalk users

  # One, by the exact login name or by id
  kubectl teamtalk users zhang.san

  # Through a forwarded port
  kubectl teamtalk users --db-proxy 127.0.0.1:10600`

const groupsExample = `  # The groups of the default sender of the TeamTalkServer
  kubectl teamtalk groups

  # One, by its exact name or by id
  kubectl teamtalk groups oncall

  # The groups of another sender
  kubectl teamtalk groups --sender 5`

// directoryCommand is users or groups.
type directoryCommand struct {
	*kube.Access

	target targetFlags
	output kube.Output
}

// NewUsersCommand returns the command users.
func NewUsersCommand(a *kube.Access) *cobra.Command {
	d := &directoryCommand{Access: a}
	c := &cobra.Command{
		Use: "users [NAME | ID]", Short: "List ids and login names of TeamTalk's users",
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
		Use: "groups [NAME | ID]", Short: "List ids and names of the groups that a sender is a member of",
		Long: "List ids, names and numbers of members of the groups that a sender is a member of.\n" +
			"A message can go to these. TeamTalk has no list of all groups.\n\n" +
			fmt.Sprintf(reachLong, "kubectl teamtalk groups"),
		Example: groupsExample, Args: kube.MaxArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
	}
	d.target.addFlags(a, c)
	d.target.addSender(c)
	d.output.AddFlag(c, kube.DataFormats)
	c.RunE = func(c *cobra.Command, args []string) error { return d.run(c.Context(), args, d.printGroups) }
	return c
}

func (d *directoryCommand) run(
	ctx context.Context, args []string,
	show func(ctx context.Context, t *target, c *dbproxy.Client, name string) error,
) error {
	if err := d.output.Validate(); err != nil {
		return err
	}
	t, err := d.target.find(ctx, d.Access)
	if err != nil {
		return err
	}
	name := strings.Join(args, "") // one at most
	return t.read(ctx, func(c *dbproxy.Client) error { return show(ctx, t, c, name) })
}

func (d *directoryCommand) printUsers(ctx context.Context, t *target, c *dbproxy.Client, name string) error {
	users, err := readUsers(ctx, c, t.sender)
	if err != nil {
		return err
	}
	if users, err = chooseNamed(users, kindUser, name); err != nil {
		return err
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

func (d *directoryCommand) printGroups(ctx context.Context, t *target, c *dbproxy.Client, name string) error {
	if err := t.checkSender(ctx, c); err != nil {
		return err
	}
	groups, err := readGroups(ctx, c, t.sender)
	if err != nil {
		return err
	}
	if groups, err = chooseNamed(groups, kindGroup, name); err != nil {
		return err
	}
	if !d.output.IsTable() {
		return d.output.PrintData(d.Out, groups)
	}
	if len(groups) == 0 {
		fmt.Fprintf(d.ErrOut, "user %d is a member of no group\n", t.sender)
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
