// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// completionTimeout bounds a request for names: the user waits for it.
const completionTimeout = 3 * time.Second

// CompletionFunc is a function of cobra.
type CompletionFunc = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// Complete suggests the names of objects in the namespace, for up to so many arguments; 0: no limit.
func (a *Access) Complete(list client.ObjectList, most int) CompletionFunc {
	return func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		namespace, err := a.Namespace()
		if err != nil || most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := slices.DeleteFunc(a.names(c.Context(), list, namespace), func(name string) bool {
			return slices.Contains(args, name)
		})
		return withPrefix(names, toComplete), cobra.ShellCompDirectiveNoFileComp
	}
}

// names returns none if the cluster does not answer: a completion has no place for errors.
func (a *Access) names(ctx context.Context, list client.ObjectList, namespace string) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	c, err := a.Client()
	if err != nil || c.List(ctx, list, client.InNamespace(namespace)) != nil {
		return nil
	}
	_ = meta.EachListItem(list, func(o runtime.Object) error { // the function returns no error
		if accessor, err := meta.Accessor(o); err == nil {
			names = append(names, accessor.GetName())
		}
		return nil
	})
	slices.Sort(names)
	return names
}

// RegisterCompletions completes the values of kubectl's flags.
func (a *Access) RegisterCompletions(c *cobra.Command) {
	namespaces := func(c *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return withPrefix(a.names(c.Context(), &corev1.NamespaceList{}, ""), toComplete), cobra.ShellCompDirectiveNoFileComp
	}
	contexts := func(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		raw, err := a.Config.ToRawKubeConfigLoader().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return withPrefix(slices.Sorted(maps.Keys(raw.Contexts)), toComplete), cobra.ShellCompDirectiveNoFileComp
	}
	_ = c.RegisterFlagCompletionFunc("namespace", namespaces) // AddFlags adds both
	_ = c.RegisterFlagCompletionFunc("context", contexts)
}

// fileFlags are the flags whose values are files.
var fileFlags = []string{"filename", "payload", "receiver"}

// CompleteFlags has the shell suggest no files for flags of a command whose values are none. Usages lose their
// backquotes, which only help understands.
func CompleteFlags(c *cobra.Command) {
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if _, isSet := c.GetFlagCompletionFunc(f.Name); !isSet && !slices.Contains(fileFlags, f.Name) {
			_ = c.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions) // the flag exists
		}
		_, f.Usage = pflag.UnquoteUsage(f)
	})
}

func withPrefix(names []string, prefix string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
}
