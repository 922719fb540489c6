// SPDX-License-Identifier: Apache-2.0

package install

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/controlplane"
)

// kubectlGet returns the table that "kubectl get" prints of a kind.
func kubectlGet(t *testing.T, kubeconfig, kind string) (table string) {
	t.Helper()
	config := genericclioptions.NewConfigFlags(false)
	config.KubeConfig = &kubeconfig
	factory := cmdutil.NewFactory(config)
	var out, problems bytes.Buffer
	streams := genericiooptions.IOStreams{Out: &out, ErrOut: &problems}
	o, cmd := get.NewGetOptions("kubectl", streams), get.NewCmdGet("kubectl", factory, streams)
	must(t, o.Complete(factory, cmd, []string{kind}))
	must(t, o.Run(factory, []string{kind}))
	if problems.Len() > 0 {
		t.Errorf("kubectl get %s: %s", kind, &problems)
	}
	return out.String()
}

// TestColumns: "kubectl get" of typical objects fits a terminal. The age is shorter here than its heading, and may have
// two characters more than that.
func TestColumns(t *testing.T) {
	t.Parallel()
	const width, ages = 100, 2
	want := map[string]string{
		"TeamTalkMessage":  "NAME TO READY REASON DELIVERED READ AGE",
		"TeamTalkGroup":    "NAME GROUP MEMBERS READY REASON AGE",
		"TeamTalkSchedule": "NAME SCHEDULE TIME ZONE REASON LAST NEXT AGE",
		"TeamTalkServer":   "NAME READY REASON DB PROXY ROUTER AGE",
		"TeamTalkReceiver": "NAME TYPE READY REASON SERVED MESSAGES LAST AGE",
	}
	plane, admin, err := framework.StartPlane(t.Context(), controlplane.Options{Log: t.Logf})
	must(t, err)
	t.Cleanup(func() { _ = plane.Stop() })
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, plane.WriteKubeconfig(kubeconfig))
	objects, err := framework.Read(filepath.Join("testdata", "columns.yaml"))
	must(t, err)
	for _, o := range objects {
		status := o.Object["status"]
		o.SetNamespace("default")
		must(t, admin.Create(t.Context(), o))
		o.Object["status"] = status
		must(t, admin.Status().Update(t.Context(), o))
	}
	kinds := &apiextensionsv1.CustomResourceDefinitionList{}
	must(t, admin.List(t.Context(), kinds))
	for _, kind := range kinds.Items {
		table := kubectlGet(t, kubeconfig, kind.Name)
		lines := strings.Split(strings.TrimSpace(table), "\n")
		t.Logf("\n%s", table)
		if got := strings.Join(strings.Fields(lines[0]), " "); got != want[kind.Spec.Names.Kind] || len(lines) < 2 {
			t.Errorf("%s has the columns %q, want %q with rows", kind.Spec.Names.Kind, got, want[kind.Spec.Names.Kind])
		}
		for _, line := range lines {
			if n := len(strings.TrimRight(line, " ")); n > width-ages {
				t.Errorf("a row of %s has %d characters, want at most %d:\n%s", kind.Spec.Names.Kind, n, width-ages, line)
			}
		}
	}
}
