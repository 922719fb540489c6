package teamtalkmessage

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// TestDrainedRecordsNothing: an operator that has drained may have said so on the Lease;
// the next one would not see what is written after that.
func TestDrainedRecordsNothing(t *testing.T) {
	for name, drain := range map[string]bool{"at work": false, "drained": true} {
		t.Run(name, func(t *testing.T) {
			now := metav1.Now()
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
				Namespace: "chat", Name: "m", UID: "u", Generation: 1, CreationTimestamp: now,
			}}
			m.Spec.To.Users, m.Spec.Content.Text = []v1alpha1.UserID{3}, new("hello")
			m.Spec.Deadline = new(metav1.NewTime(now.Add(-time.Second)))
			lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
				Namespace: "chat", Name: "lease", CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			}}
			lease.Spec.HolderIdentity, lease.Spec.AcquireTime = new("me"), new(metav1.NewMicroTime(lease.CreationTimestamp.Time))
			scheme := runtime.NewScheme()
			for _, add := range []func(*runtime.Scheme) error{coordinationv1.AddToScheme, v1alpha1.AddToScheme} {
				if err := add(scheme); err != nil {
					t.Fatal(err)
				}
			}
			api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(m, lease).WithStatusSubresource(m).Build()
			r := &Reconciler{
				Client: api, Live: api, Recorder: events.NewFakeRecorder(10),
				Engine:   delivery.NewEngine(func(types.NamespacedName) {}),
				Arrivals: delivery.NewArrivals(func(types.NamespacedName) {}),
				Term:     leadership.NewKeeper(api, api, client.ObjectKeyFromObject(lease), "me", time.Second),
				store:    toolscache.NewStore(toolscache.MetaNamespaceKeyFunc),
			}
			if err := r.Term.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if drain {
				if err := r.Engine.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			key := client.ObjectKeyFromObject(m)
			if err := api.Get(t.Context(), key, m); err != nil {
				t.Fatal(err)
			}
			r.Arrivals.Enter(arrivalOf(m))
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			after := &v1alpha1.TeamTalkMessage{}
			if err := api.Get(t.Context(), key, after); err != nil {
				t.Fatal(err)
			}
			if written := after.ResourceVersion != m.ResourceVersion; written == drain || after.Finished() == drain {
				t.Errorf("written: %v, %+v", written, after.Status)
			}
		})
	}
}
