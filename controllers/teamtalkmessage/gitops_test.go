// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// TestGitOpsEvent: the warning comes once, of a TTL on what a tool creates again.
func TestGitOpsEvent(t *testing.T) {
	const flux, argo = "kustomize.toolkit.fluxcd.io/name", "argocd.argoproj.io/"
	label := func(key string) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) { m.Labels = map[string]string{key: "apps"} }
	}
	tests := map[string]struct {
		edit   func(*v1alpha1.TeamTalkMessage)
		before v1alpha1.TeamTalkMessageStatus
		noTTL  bool
		want   string
	}{
		"Flux":                {edit: label(flux), want: "Flux creates"},
		"Flux, by Helm":       {edit: label("helm.toolkit.fluxcd.io/name"), want: "Flux creates"},
		"Argo CD, by label":   {edit: label(argo + "instance"), want: "Argo CD creates"},
		"Argo CD":             {edit: func(m *v1alpha1.TeamTalkMessage) { m.Annotations = map[string]string{argo + "tracking-id": "a:b"} }, want: "Argo CD creates"},
		"Helm alone":          {edit: label("app.kubernetes.io/instance")},
		"nobody":              {edit: label("app")},
		"without a TTL":       {edit: label(flux), noTTL: true},
		"not the first write": {edit: label(flux), before: v1alpha1.TeamTalkMessageStatus{StartTime: &metav1.Time{Time: noon}}},
		"TTL added": {
			edit: label(flux), before: v1alpha1.TeamTalkMessageStatus{StartTime: &metav1.Time{Time: noon}, Finished: true, Settled: true},
			want: "Flux creates",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			after := &v1alpha1.TeamTalkMessage{}
			tc.edit(after)
			if !tc.noTTL {
				after.Spec.TTLSecondsAfterFinished = new(int32)
			}
			before := after.DeepCopy()
			before.Status = tc.before
			e := gitOpsEvent(before, after)
			if !strings.HasPrefix(e.note, tc.want) || (e.reason == v1alpha1.ReasonRecreatedByGitOps) != (tc.want != "") {
				t.Errorf("%+v, want %q", e, tc.want)
			}
		})
	}
}

// TestGitOpsEventIsRecorded beside the event of the outcome.
func TestGitOpsEventIsRecorded(t *testing.T) {
	m := expired()
	m.Labels, m.Spec.TTLSecondsAfterFinished = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}, new(int32(60))
	m.GenerateName = "m-" // it is not searched for
	r := newReconciler(t, m, 0)
	r.ConfigMaps = &apiwatch.Objects{}
	for range 2 {
		look(t, r, m)
	}
	recorder, ok := r.Recorder.(*events.FakeRecorder)
	if !ok {
		t.Fatalf("%T", r.Recorder)
	}
	close(recorder.Events)
	warnings := 0
	for e := range recorder.Events {
		if strings.Contains(e, v1alpha1.ReasonRecreatedByGitOps) {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings, want 1", warnings)
	}
}
