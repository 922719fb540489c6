// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	plugin "github.com/teamtalk-io/teamtalk-operator/internal/cli"
	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

// TestHelp checks that each command has a description and examples that parse, and that the page has it.
func TestHelp(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(world.Root, "docs", "reference", "kubectl-teamtalk.md"))
	if err != nil {
		t.Fatal(err)
	}
	root := plugin.NewCommand(kube.NewAccess(genericclioptions.IOStreams{}))
	seen := 0
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			check(sub)
		}
		if c.HasSubCommands() {
			return
		}
		seen++
		if c.Long == "" || c.Example == "" {
			t.Errorf("%s has no description or no example", c.CommandPath())
		}
		if !strings.Contains(string(page), "`"+strings.TrimPrefix(c.CommandPath(), kube.Command+" ")+"`") {
			t.Errorf("docs/reference/kubectl-teamtalk.md does not list %s", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			_, example, found := strings.Cut(strings.TrimSpace(line), c.CommandPath()+" ")
			if !found {
				continue
			}
			args := slices.DeleteFunc(strings.Fields(example), func(arg string) bool { return !strings.HasPrefix(arg, "-") || arg == "-" })
			for _, arg := range args {
				flag, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
				if c.Flags().Lookup(flag) == nil && c.InheritedFlags().Lookup(flag) == nil && c.Flags().ShorthandLookup(flag[:1]) == nil &&
					c.InheritedFlags().ShorthandLookup(flag[:1]) == nil {
					t.Errorf("the example %q has a flag that is not one: %s", line, arg)
				}
			}
		}
	}
	check(root)
	if seen < 10 {
		t.Errorf("%d commands", seen)
	}
	runPlugin(t, t.TempDir(), "/nowhere", "").want(0, "Available Commands", "kubectl teamtalk [command]")
	runPlugin(t, t.TempDir(), "/nowhere", "", "send", "--help").want(0, "kubectl teamtalk send [TEXT]", "Examples:", "--namespace")
	runPlugin(t, t.TempDir(), "/nowhere", "", "--version").want(0, "kubectl teamtalk version")
}

// TestCompletion runs the plugin under the name by which kubectl asks it for completions.
func TestCompletion(t *testing.T) {
	t.Parallel()
	x := newTenantWithServer(t)
	x.Declare("announce-1", "Hello")
	x.Declare("announce-2", "Hello")
	x.receiver("alerts", v1alpha1.ReceiverAlertmanager, nil)
	x.Create(&v1alpha1.TeamTalkGroup{
		ObjectMeta: x.Named("crew"),
		Spec:       v1alpha1.TeamTalkGroupSpec{ServerRef: &v1alpha1.ServerReference{Name: "none"}, DisplayName: "Crew"},
	})
	link := filepath.Join(x.home, "kubectl_complete-teamtalk")
	x.Must(os.Symlink(world.plugin, link))
	tests := map[string]struct{ args, want []string }{
		"commands":      {[]string{"s"}, []string{"send", "servers", "status"}},
		"messages":      {[]string{"status", "ann"}, []string{"announce-1", "announce-2"}},
		"other message": {[]string{"retry", "announce-1", ""}, []string{"announce-2"}},
		"one message":   {[]string{"resend", "announce-1", ""}, nil},
		"servers":       {[]string{"send", "--server", "d"}, []string{"default"}},
		"receivers":     {[]string{"test", "receiver", ""}, []string{"alerts"}},
		"namespaces":    {[]string{"status", "-n", x.Namespace}, []string{x.Namespace}},
		"contexts":      {[]string{"status", "--context", ""}, []string{"x"}},
		"formats":       {[]string{"history", "-o", ""}, []string{"json", "yaml", "wide"}},
		"groups":        {[]string{"send", "--to-group-ref", ""}, []string{"crew"}},
		"no files":      {[]string{"send", "--to-user-name", ""}, nil},
		"flags":         {[]string{"send", "--to-group-r"}, []string{"--to-group-ref"}},
	}
	for title, tc := range tests {
		t.Run(title, func(t *testing.T) {
			args := slices.Concat(tc.args[:len(tc.args)-1], tc.args[len(tc.args)-1:])
			if title != "namespaces" {
				args = slices.Concat([]string{"-n", x.Namespace}, args)
			}
			r := runProgram(t, link, x.home, world.kubeconfigs[owner], "", args...).want(0)
			var got []string
			for line := range strings.Lines(r.out) {
				if word, _, _ := strings.Cut(strings.TrimSpace(line), "\t"); word != "" && !strings.HasPrefix(word, ":") {
					got = append(got, word)
				}
			}
			// Without the directive, shells suggest files.
			if strings.Contains(r.out, "`") || !strings.Contains(r.out, "\n:4\n") && !strings.HasPrefix(r.out, ":4\n") {
				t.Errorf("%q shows %q", args, r.out)
			}
			if !containsAll(got, tc.want) || len(tc.want) == 0 && len(got) > 0 {
				t.Errorf("%q suggests %q, want %q", args, got, tc.want)
			}
		})
	}
}

func containsAll(got, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(got, w) })
}
