// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/wait"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// kubectlWait runs "kubectl wait" for a condition of an object, and returns its error.
func (x *tenant) kubectlWait(object, condition string, timeout time.Duration) error {
	x.Helper()
	kubeconfig := filepath.Join(x.TempDir(), "kubeconfig")
	x.Must(x.Cluster.Plane.WriteKubeconfig(kubeconfig))
	config := genericclioptions.NewConfigFlags(false)
	config.KubeConfig, config.Namespace = &kubeconfig, &x.Namespace
	flags := wait.NewWaitFlags(config, genericiooptions.IOStreams{Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}})
	flags.ForCondition, flags.Timeout = []string{"condition=" + condition}, timeout
	o, err := flags.ToOptions([]string{object})
	x.Must(err)
	return o.RunWaitContext(x.Context())
}

// TestKubectlWait: a pipeline that waits for a message learns each way in which it can end, and is not told of an end
// that is not there.
func TestKubectlWait(t *testing.T) {
	t.Parallel()
	rejects := devserver.Fault{Kind: devserver.IDZero, Command: wire.CommandMsgData}
	tests := map[string]struct {
		faults []devserver.Fault
		edit   messageEdit
		to     func(*tenant) messageEdit
		// met are the conditions that kubectl finds met; Finished is always among them.
		met []string
		// stays is a condition that is not met when the message has finished.
		stays string
	}{
		"delivered": {
			met: []string{"Ready", "Delivered"}, stays: "Stalled",
		},
		"refused before it is sent": {
			to:  func(x *tenant) messageEdit { return toUsers(x.Bot) },
			met: []string{"Stalled", "Ready=False", "Delivered=False"}, stays: "Ready",
		},
		"some recipients fail": {
			to:  func(x *tenant) messageEdit { return toUsers(x.Alice, 1_999_999) },
			met: []string{"Stalled", "Delivered=False"}, stays: "Delivered",
		},
		"all attempts fail": {
			faults: []devserver.Fault{rejects},
			edit:   func(m *v1alpha1.TeamTalkMessage) { m.Spec.RetryLimit = new(int32(0)) },
			met:    []string{"Stalled", "Ready=False"}, stays: "Ready",
		},
		"the deadline passes": {
			faults: []devserver.Fault{rejects},
			edit:   func(m *v1alpha1.TeamTalkMessage) { m.Spec.ActiveDeadlineSeconds = new(int64(2)) },
			met:    []string{"Stalled"}, stays: "Delivered",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithTeamTalk(t)
			for _, fault := range tc.faults {
				x.AddFault(fault)
			}
			edits := []messageEdit{toUsers(x.Alice)}
			if tc.edit != nil {
				edits = append(edits, tc.edit)
			}
			if tc.to != nil {
				edits = append(edits, tc.to(x))
			}
			x.Declare("m", "once", edits...)
			for _, condition := range append([]string{"Finished"}, tc.met...) {
				if err := x.kubectlWait("ttm/m", condition, 2*framework.Timeout); err != nil {
					t.Errorf("%s: %v", condition, err)
				}
			}
			// 0 looks once.
			if err := x.kubectlWait("ttm/m", tc.stays, 0); err == nil || !strings.Contains(err.Error(), "condition not met") {
				t.Errorf("%s: %v, want it not to be met", tc.stays, err)
			}
		})
	}
}

// TestKubectlWaitAfterEdit: what is true of the message before an edit does not end a wait for the edited one.
func TestKubectlWaitAfterEdit(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	m := x.Declare("m", "once", toUsers(x.Bot))
	x.Must(x.kubectlWait("ttm/m", "Finished", framework.Timeout))
	x.AddFault(devserver.Fault{Kind: devserver.NoAnswer, Command: wire.CommandMsgData, Count: 1})
	x.Patch(m, `{"spec":{"to":{"users":[`+fmt.Sprint(x.Alice)+`]}}}`)
	x.Must(x.kubectlWait("ttm/m", "Finished", 2*framework.Timeout))
	if err := x.kubectlWait("ttm/m", "Ready", 0); err != nil {
		t.Errorf("the edited message has finished, and is not Ready: %v", err)
	}
	x.CheckRows(1)
}

// TestKubectlWaitForServer is what a pipeline does before it sends.
func TestKubectlWaitForServer(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.Create(x.Server())
	if err := x.kubectlWait("tts/default", "Ready=False", framework.Timeout); err != nil {
		t.Error(err)
	}
	x.Create(x.KeySecret(devserver.DevelopmentKey))
	if err := x.kubectlWait("tts/default", "Ready", framework.Timeout); err != nil {
		t.Error(err)
	}
}
