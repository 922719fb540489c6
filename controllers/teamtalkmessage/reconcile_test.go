// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// newReconciler returns one with a fake API server that holds a message, and the term of
// a leader whose Lease has changed hands so often.
func newReconciler(t *testing.T, m *v1alpha1.TeamTalkMessage, transitions int32) *Reconciler {
	t.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Namespace: "chat", Name: "lease", CreationTimestamp: metav1.NewTime(m.CreationTimestamp.Add(time.Minute)),
	}}
	lease.Spec.HolderIdentity, lease.Spec.AcquireTime = new("me"), new(metav1.NewMicroTime(lease.CreationTimestamp.Time))
	lease.Spec.LeaseTransitions = &transitions
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{coordinationv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(m, lease).WithStatusSubresource(m).Build()
	r := &Reconciler{
		Client: api, Live: api, Recorder: events.NewFakeRecorder(10), Wake: &apiwatch.Trigger{},
		Engine: delivery.NewEngine(func(types.NamespacedName) {}),
		Term:   leadership.NewTermTracker(api, api, client.ObjectKeyFromObject(lease), "me", time.Second),
		store:  toolscache.NewStore(toolscache.MetaNamespaceKeyFunc),
	}
	if err := r.Term.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
		t.Fatal(err)
	}
	r.Engine.Queue.Add(queueMessage(m))
	return r
}

// expired is a message whose deadline is over.
func expired() *v1alpha1.TeamTalkMessage {
	now := metav1.Now()
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: "chat", Name: "m", UID: "u", Generation: 1, CreationTimestamp: now,
	}}
	m.Spec.To.Users, m.Spec.Content.Text = []v1alpha1.UserID{3}, new("hello")
	m.Spec.Deadline = new(metav1.NewTime(now.Add(-time.Second)))
	return m
}

// look reconciles the message, and reports whether anything was written.
func look(t *testing.T, r *Reconciler, m *v1alpha1.TeamTalkMessage) (reconcile.Result, bool) {
	t.Helper()
	key := client.ObjectKeyFromObject(m)
	result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
	if err != nil {
		t.Fatal(err)
	}
	after := &v1alpha1.TeamTalkMessage{}
	if err := r.Live.Get(t.Context(), key, after); err != nil {
		t.Fatal(err)
	}
	return result, after.ResourceVersion != m.ResourceVersion
}

// TestDrainedRecordsNothing: an operator that has drained may have said so on the Lease;
// the next one would not see what is written after that.
func TestDrainedRecordsNothing(t *testing.T) {
	for name, drain := range map[string]bool{"at work": false, "drained": true} {
		t.Run(name, func(t *testing.T) {
			m := expired()
			r := newReconciler(t, m, 0)
			if drain {
				if err := r.Engine.Drain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if _, written := look(t, r, m); written == drain {
				t.Errorf("written: %v", written)
			}
		})
	}
}

// TestInDoubtIsNotPostponedForGood: what is in doubt is enqueued as everything else is, once
// it has waited for long.
func TestInDoubtIsNotPostponedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := expired()
		r := newReconciler(t, m, 1)
		q := priorityqueue.New[reconcile.Request]("test")
		defer q.ShutDown()
		if err := r.Wake.Start(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		key := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)}
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, key)
		if result, _ := look(t, r, m); result.Priority == nil {
			t.Fatalf("it is not postponed: %+v", result)
		}
		time.Sleep(postponeLimit)
		synctest.Wait()
		other := reconcile.Request{NamespacedName: types.NamespacedName{Name: "other"}}
		q.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority + 1)}, other)
		synctest.Wait()
		if first, priority, _ := q.GetWithPriority(); first != key || priority != 0 {
			t.Errorf("first comes %v with priority %d", first, priority)
		}
	})
}

// TestInDoubtIsPostponed: what a leader that was lost has left comes when there is nothing
// else to do, and does come.
func TestInDoubtIsPostponed(t *testing.T) {
	m := expired()
	r := newReconciler(t, m, 1)
	result, written := look(t, r, m)
	if written || result.RequeueAfter <= 0 || result.Priority == nil || *result.Priority >= 0 {
		t.Errorf("the first look: %+v, written: %v", result, written)
	}
	if r.postpone(client.ObjectKeyFromObject(m)) {
		t.Error("it is postponed more than once")
	}
	younger := queueMessage(m)
	younger.Key.Name, younger.UID, younger.Order.Name = "younger", "younger", "chat/younger"
	r.Engine.Queue.Add(younger)
	if r.Engine.Queue.Admit("younger", younger.Server, 1) {
		t.Error("it has lost its place")
	}
	if _, written := look(t, r, m); !written {
		t.Error("the second look has written nothing")
	}
}
