// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// TestAdvise: a command in advice works with the cluster of the command that gives it.
func TestAdvise(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no flags":         {nil, "kubectl get ttm m -n chat"},
		"a context":        {[]string{"--context", "prod"}, "kubectl get ttm m -n chat --context=prod"},
		"another order":    {[]string{"--kubeconfig=/etc/k", "--context=eu:1"}, "kubectl get ttm m -n chat --context=eu:1 --kubeconfig=/etc/k"},
		"the namespace":    {[]string{"-n", "other"}, "kubectl get ttm m -n chat"},
		"words to quote":   {[]string{"--context", "it's $HOME"}, `kubectl get ttm m -n chat --context='it'\''s $HOME'`},
		"an empty value":   {[]string{"--cluster="}, "kubectl get ttm m -n chat --cluster=''"},
		"a list":           {[]string{"--as=a", "--as-group=b,c", "--as-group=d"}, "kubectl get ttm m -n chat --as=a --as-group=b,c --as-group=d"},
		"a boolean":        {[]string{"--insecure-skip-tls-verify"}, "kubectl get ttm m -n chat --insecure-skip-tls-verify=true"},
		"a token":          {[]string{"--token", "swordfish"}, "kubectl get ttm m -n chat --token=TOKEN"},
		"the default, set": {[]string{"--request-timeout=0"}, "kubectl get ttm m -n chat --request-timeout=0"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a, fs := NewAccess(genericclioptions.IOStreams{}), pflag.NewFlagSet("", pflag.ContinueOnError)
			a.AddFlags(fs)
			if err := fs.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			if got := a.Advise("chat", "kubectl get ttm m"); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}
