// SPDX-License-Identifier: Apache-2.0

package message

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

func TestAgain(t *testing.T) {
	text := "Hello"
	now := metav1.Now()
	m := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: strings.Repeat("x", 100), UID: "1", ResourceVersion: "2", Labels: map[string]string{"a": "b"},
			Annotations: map[string]string{v1alpha1.RetryAnnotation: "1"},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{
			Content: v1alpha1.Content{Text: &text}, IdempotencyKey: "k", SendAfter: &now, Deadline: &now,
			Suspend: new(true), OnChange: v1alpha1.OnChangeResend, TTLSecondsAfterFinished: new(int32(60)),
		},
	}
	got := again(m)
	if !strings.HasPrefix(got.Name, got.GenerateName) || len(got.Name) > 63 || got.Name == again(m).Name {
		t.Errorf("the name is %s", got.Name)
	}
	want := &v1alpha1.TeamTalkMessage{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: got.Name, GenerateName: got.GenerateName, Labels: map[string]string{"a": "b"},
		},
		Spec: v1alpha1.TeamTalkMessageSpec{Content: v1alpha1.Content{Text: &text}, TTLSecondsAfterFinished: new(int32(60))},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFailedOf(t *testing.T) {
	recipient := func(kind v1alpha1.RecipientType, id int64, name, ref string) v1alpha1.RecipientStatus {
		return v1alpha1.RecipientStatus{Type: kind, ID: id, Name: name, Ref: ref, State: v1alpha1.StateFailed}
	}
	const user, group = v1alpha1.RecipientUser, v1alpha1.RecipientGroup
	delivered := recipient(user, 9, "", "")
	delivered.State = v1alpha1.StateRouted
	m := &v1alpha1.TeamTalkMessage{Status: v1alpha1.TeamTalkMessageStatus{Recipients: []v1alpha1.RecipientStatus{
		recipient(user, 2, "", ""), recipient(user, 3, "zhang.san", ""), recipient(group, 7, "", ""),
		recipient(group, 0, "oncall", ""), recipient(group, 8, "", "ops"), delivered,
	}}}
	want := v1alpha1.Recipients{
		Users: []v1alpha1.UserID{2}, UserNames: []string{"zhang.san"}, Groups: []v1alpha1.GroupID{7},
		GroupNames: []string{"oncall"}, GroupRefs: []v1alpha1.GroupReference{{Name: "ops"}},
	}
	got := failedOf(m)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for quorum, wantNone := range map[int32]bool{5: false, 6: true} {
		spec := v1alpha1.TeamTalkMessageSpec{To: got, ReadPolicy: &v1alpha1.ReadPolicy{Quorum: &quorum}}
		if limitQuorum(&spec); (spec.ReadPolicy.Quorum == nil) != wantNone {
			t.Errorf("of %d readers among 5 recipients: %v", quorum, spec.ReadPolicy.Quorum)
		}
	}
}
