// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

func apiScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestReadRecorded: the rows that were read from the store are recorded, those that were only answered are not.
func TestReadRecorded(t *testing.T) {
	stored := metav1.NewTime(time.Now().Add(-time.Minute).Truncate(time.Second))
	recipient := v1alpha1.RecipientStatus{
		Type: v1alpha1.RecipientUser, ID: 3, State: v1alpha1.StateRouted, MessageIDs: []int64{17}, StoredAt: &stored,
	}
	row := delivery.RecordedRow{
		Server: finishedMessage(v1alpha1.StateRouted).ServerKey(), Sender: 1, Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 3}, ID: 17, By: stored.Time,
	}
	segments, group := row, row
	segments.ID = 19
	group.Recipient = v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, ID: 7}
	for name, tc := range map[string]struct {
		change func(*v1alpha1.TeamTalkMessage, *v1alpha1.RecipientStatus)
		want   []delivery.RecordedRow
	}{
		"a row":    {want: []delivery.RecordedRow{row}},
		"segments": {func(_ *v1alpha1.TeamTalkMessage, r *v1alpha1.RecipientStatus) { r.MessageIDs = []int64{17, 19} }, []delivery.RecordedRow{segments}},
		"a group": {func(_ *v1alpha1.TeamTalkMessage, r *v1alpha1.RecipientStatus) {
			r.Type, r.ID = v1alpha1.RecipientGroup, 7
		}, []delivery.RecordedRow{group}},
		"only answered":  {func(_ *v1alpha1.TeamTalkMessage, r *v1alpha1.RecipientStatus) { r.StoredAt = nil }, nil},
		"acknowledged":   {func(_ *v1alpha1.TeamTalkMessage, r *v1alpha1.RecipientStatus) { r.State = v1alpha1.StateAcknowledged }, nil},
		"failed":         {func(_ *v1alpha1.TeamTalkMessage, r *v1alpha1.RecipientStatus) { r.MessageIDs = nil }, nil},
		"another server": {func(m *v1alpha1.TeamTalkMessage, _ *v1alpha1.RecipientStatus) { m.Namespace = "elsewhere" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted)
			r := recipient
			if tc.change != nil {
				tc.change(m, &r)
			}
			m.Status.SenderID, m.Status.CompletionTime = new(v1alpha1.UserID(1)), &stored
			m.Status.Recipients = []v1alpha1.RecipientStatus{r}
			server := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: v1alpha1.DefaultServerName}}
			server.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"db:1", "db:2"}
			live := fake.NewClientBuilder().WithScheme(apiScheme(t)).WithObjects(m, server).Build()
			reconciler := &Reconciler{Client: live, Live: live, Engine: delivery.NewEngine(nil)}
			var got []delivery.RecordedRow
			err := reconciler.ReadRecorded(t.Context(), func(r delivery.RecordedRow) { got = append(got, r) })
			if diff := cmp.Diff(tc.want, got); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestReadRecordedFails: what was not read is not taken for complete.
func TestReadRecordedFails(t *testing.T) {
	live := interceptor.NewClient(fake.NewClientBuilder().WithScheme(apiScheme(t)).Build(), interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*v1alpha1.TeamTalkMessageList); ok {
				return errors.New("away")
			}
			return c.List(ctx, list, opts...)
		},
	})
	reconciler := &Reconciler{Client: live, Live: live, Engine: delivery.NewEngine(nil)}
	if err := reconciler.ReadRecorded(t.Context(), func(delivery.RecordedRow) {}); err == nil {
		t.Error("no error")
	}
}
