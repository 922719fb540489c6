// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestSegmentsOfOneText: when a ConfigMap changes between two segments of its text, nothing
// of the new text is sent; once it has its text back, the rest can be.
func TestSegmentsOfOneText(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	text := func(word string) map[string]string {
		return map[string]string{"body": strings.TrimSpace(strings.Repeat(word+"\n", 1200))}
	}
	x.configMap("notice", text("first"), nil)
	// Every segment but the first is refused for now.
	x.AddFault(devserver.Fault{Kind: devserver.IDZero, Command: wire.CommandMsgData, Skip: 1})
	m := x.Declare("m", "", func(m *v1alpha1.TeamTalkMessage) {
		m.Spec.LongText = v1alpha1.LongTextSplit
		m.Spec.Content = v1alpha1.Content{TextFrom: &v1alpha1.TextSource{
			ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "notice", Key: "body"},
		}}
	})
	x.AwaitMessage(m, "in segments", func(m *v1alpha1.TeamTalkMessage) bool {
		return m.Status.Split != nil && m.Status.Split.Segments == 3 && len(m.Status.Recipients) == 1 && len(m.Status.Recipients[0].MessageIDs) == 1
	})
	x.Patch(m, `{"spec":{"suspend":true}}`)
	x.AwaitMessage(m, "suspended", readyFor(metav1.ConditionTrue, v1alpha1.ReasonSuspended))
	x.Must(world.Admin.Update(t.Context(), &corev1.ConfigMap{
		ObjectMeta: x.Named("notice"), Data: text("other"),
	}))
	x.TeamTalk.Faults().Clear()
	x.Patch(m, `{"spec":{"suspend":false}}`)
	failed := x.AwaitMessage(m, "refused", finishedFor(v1alpha1.ReasonContentChanged))
	if rows := x.Rows(); len(rows) != 1 || len(failed.Status.Recipients[0].MessageIDs) != 1 {
		t.Errorf("the store holds %+v", rows)
	}
	x.Must(world.Admin.Update(t.Context(), &corev1.ConfigMap{
		ObjectMeta: x.Named("notice"), Data: text("first"),
	}))
	x.Patch(m, `{"metadata":{"annotations":{"teamtalk.io/retry":"1"}}}`)
	x.AwaitDelivered(m)
	rows := x.Rows()
	if len(rows) != 3 {
		t.Fatalf("the store holds %d segments", len(rows))
	}
	for n, row := range rows {
		if !strings.HasPrefix(row.Text, fmt.Sprintf("(%d/3) first", n+1)) || strings.Contains(row.Text, "other") {
			t.Errorf("segment %d begins with %.20q", n+1, row.Text)
		}
	}
}
