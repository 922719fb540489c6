// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
)

const serversExample = `  # Those of the namespace
  kubectl teamtalk servers

  # All that you may see, with their endpoints
  kubectl teamtalk servers -A -o wide

  # One
  kubectl teamtalk servers default -n chat`

// serversCommand is the command servers.
type serversCommand struct {
	*kube.Access

	allNamespaces bool
	output        kube.Output
}

// NewServersCommand returns the command servers.
func NewServersCommand(a *kube.Access) *cobra.Command {
	s := &serversCommand{Access: a}
	c := &cobra.Command{
		Use: "servers [NAME]", Short: "Show the conditions of TeamTalkServers",
		Long: "Show the conditions of TeamTalkServers, as the operator sees them. " +
			"A line below the table says why one is not ready.\n\nSee doctor for what to do.",
		Example: serversExample, Args: kube.MaxArgs(1),
		ValidArgsFunction: a.Complete(&v1alpha1.TeamTalkServerList{}, 1),
	}
	c.Flags().BoolVarP(&s.allNamespaces, "all-namespaces", "A", false, "those of all namespaces")
	s.output.AddFlag(c, kube.TableFormats)
	c.RunE = func(c *cobra.Command, args []string) error { return s.run(c.Context(), args) }
	return c
}

func (s *serversCommand) run(ctx context.Context, args []string) error {
	if err := s.output.Validate(); err != nil {
		return err
	}
	if s.allNamespaces && len(args) > 0 {
		return kube.Usagef("a name is that of one namespace: leave out --all-namespaces")
	}
	c, namespace, err := s.ClientAndNamespace()
	if err != nil {
		return err
	}
	list := &v1alpha1.TeamTalkServerList{}
	switch {
	case len(args) > 0:
		key := client.ObjectKey{Namespace: namespace, Name: args[0]}
		one, err := getServer(ctx, s.Access, c, key, "correct the name or -n")
		if err != nil {
			return err
		}
		if !s.output.IsTable() {
			return s.output.PrintObject(s.Out, one, "")
		}
		list.Items = append(list.Items, *one)
	default:
		where := client.InNamespace(namespace)
		if s.allNamespaces {
			where = ""
		}
		if err := c.List(ctx, list, where); err != nil {
			return err
		}
	}
	if !s.output.IsTable() {
		return s.output.PrintObject(s.Out, list, "")
	}
	switch {
	case len(list.Items) > 0:
		return s.print(list.Items)
	case s.allNamespaces:
		fmt.Fprintln(s.ErrOut, "the cluster has no TeamTalkServer: docs/reference/teamtalkserver.md says how to declare one")
	default:
		fmt.Fprintf(s.ErrOut, "namespace %q has no TeamTalkServer; -A shows those of all namespaces\n", namespace)
	}
	return nil
}

func (s *serversCommand) print(servers []v1alpha1.TeamTalkServer) error {
	table := &kube.Table{Header: []string{
		"NAMESPACE", "NAME", "READY", "KEY", "DB PROXY", "ROUTER", "SENDER", "MANAGED BY", "AGE",
	}}
	if s.output.IsWide() {
		table.Header = append(table.Header, "DB PROXY ENDPOINTS", "ROUTER ENDPOINTS")
	}
	for i := range servers {
		o := &servers[i]
		status := func(condition string) string {
			if c := meta.FindStatusCondition(o.Status.Conditions, condition); c != nil {
				return string(c.Status)
			}
			return string(metav1.ConditionUnknown)
		}
		manager := "-"
		if m := o.Status.ManagedBy; m != nil {
			manager = m.LeaseNamespace + "/" + m.LeaseName
		}
		row := []string{
			o.Namespace, o.Name, status(v1alpha1.ConditionReady), status(v1alpha1.ConditionKeyLoaded),
			connected(o.Status.DBProxy), connected(o.Status.Router), fmt.Sprint(o.Spec.Senders.Default), manager,
			duration.HumanDuration(time.Since(o.CreationTimestamp.Time)),
		}
		if s.output.IsWide() {
			config := connection.ConfigOf(o)
			row = append(row, strings.Join(config.DBProxy, ","), strings.Join(config.Router, ","))
		}
		table.Add(row...)
	}
	if err := table.Print(s.Out); err != nil {
		return err
	}
	for i := range servers {
		for _, line := range complaints(&servers[i]) {
			fmt.Fprintf(s.Out, "%s/%s: %s\n", servers[i].Namespace, servers[i].Name, line)
		}
	}
	return nil
}

// complaints says what the operator reports to be wrong. It is empty if the server is ready.
func complaints(s *v1alpha1.TeamTalkServer) (lines []string) {
	if len(s.Status.Conditions) == 0 {
		return []string{"no operator has looked at it: check that the operator runs"}
	}
	if meta.IsStatusConditionTrue(s.Status.Conditions, v1alpha1.ConditionReady) {
		return nil
	}
	known := map[string]bool{}
	for _, c := range s.Status.Conditions {
		line := strings.TrimSuffix(c.Reason+": "+c.Message, ": ")
		if c.Status != metav1.ConditionTrue && !known[line] {
			known[line] = true
			lines = append(lines, line)
		}
	}
	return lines
}

func connected(c *v1alpha1.ConnectionCount) string {
	if c == nil {
		return "-"
	}
	return fmt.Sprintf("%d/%d", c.Connected, c.Desired)
}
