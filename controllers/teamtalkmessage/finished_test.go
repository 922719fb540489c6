// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// finishedMessage returns a settled message with one recipient, finished an hour ago, after changes.
func finishedMessage(state v1alpha1.RecipientState, changes ...func(*v1alpha1.TeamTalkMessage)) *v1alpha1.TeamTalkMessage {
	hourAgo := metav1.NewTime(time.Now().Add(-time.Hour).Truncate(time.Second))
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: "chat", Name: "m", UID: "u", Generation: 1, CreationTimestamp: hourAgo, Annotations: map[string]string{},
	}}
	m.Spec.To.Users, m.Spec.Content.Text = []v1alpha1.UserID{3}, new("hello")
	m.Status = v1alpha1.TeamTalkMessageStatus{
		ObservedGeneration: 1, Finished: true, Settled: true, StartTime: &hourAgo, CompletionTime: &hourAgo,
		Recipients: []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 3, State: state, Reason: v1alpha1.ReasonRetriesExhausted}},
	}
	meta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue, ObservedGeneration: 1, Reason: "x",
	})
	if m.Status.NothingStored() {
		m.Status.SpecDigest = specDigest(m)
	}
	for _, change := range changes {
		change(m)
	}
	return m
}

func changeSpec(m *v1alpha1.TeamTalkMessage) { m.Generation++ }
func suspend(m *v1alpha1.TeamTalkMessage)    { m.Spec.Suspend = new(true) }
func editText(m *v1alpha1.TeamTalkMessage) {
	m.Generation, m.Spec.Content.Text = m.Generation+1, new("hello again")
}
func askToRetry(m *v1alpha1.TeamTalkMessage) { m.Annotations[v1alpha1.RetryAnnotation] = "1" }
func unfinish(m *v1alpha1.TeamTalkMessage)   { m.Status.Finished, m.Status.Settled = false, false }
func unsettle(m *v1alpha1.TeamTalkMessage)   { m.Status.Settled = false }
func setTTL(ttl int32) func(*v1alpha1.TeamTalkMessage) {
	return func(m *v1alpha1.TeamTalkMessage) { m.Spec.TTLSecondsAfterFinished = &ttl }
}

// TestReconcileEdit: what an edit of a finished message comes to is recorded, and nothing is sent.
func TestReconcileEdit(t *testing.T) {
	const failed, routed = v1alpha1.StateFailed, v1alpha1.StateRouted
	for name, tc := range map[string]struct {
		message               *v1alpha1.TeamTalkMessage
		engineKnows           bool
		wantWritten           bool
		wantState             v1alpha1.RecipientState
		wantFinished, settled bool
	}{
		"not edited":                  {finishedMessage(failed), false, false, failed, true, true},
		"retried":                     {finishedMessage(failed, askToRetry), false, true, v1alpha1.StatePending, false, false},
		"retried, nothing failed":     {finishedMessage(routed, askToRetry), false, true, routed, true, true},
		"edited, nothing stored":      {finishedMessage(failed, editText), false, true, v1alpha1.StatePending, false, false},
		"another field, nothing sent": {finishedMessage(failed, changeSpec), false, true, failed, true, true},
		"suspended, nothing sent":     {finishedMessage(failed, changeSpec, suspend), false, true, failed, true, true},
		"TTL added, nothing sent":     {finishedMessage(failed, changeSpec, setTTL(60)), false, true, failed, true, false},
		"edited, stored":              {finishedMessage(routed, changeSpec), false, true, routed, true, true},
		"TTL added":                   {finishedMessage(routed, changeSpec, setTTL(60)), false, true, routed, true, false},
		"TTL kept, not edited":        {finishedMessage(failed, unsettle, setTTL(60)), false, false, failed, true, false},
		"TTL kept, retried":           {finishedMessage(failed, unsettle, setTTL(60), askToRetry), false, true, v1alpha1.StatePending, false, false},
		"TTL removed":                 {finishedMessage(routed, changeSpec, unsettle), false, true, routed, true, true},
		"in the cache":                {finishedMessage(failed, changeSpec, unfinish), false, false, failed, false, false},
		"being deleted":               {finishedMessage(failed, changeSpec, beingDeleted), false, false, failed, true, true},
		"its end is not in the cache": {finishedMessage(failed, askToRetry), true, false, failed, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := tc.message
			r := newReconciler(t, m, 0)
			if tc.engineKnows {
				r.Engine.Submit(delivery.Task{Key: client.ObjectKeyFromObject(m), UID: m.UID})
			}
			r.OnStatusWrite = func(w StatusWrite) {
				if w.Finished {
					t.Error("counted as finished once more")
				}
			}
			before := m.ResourceVersion
			result, err := r.reconcileEdit(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)})
			if err != nil {
				t.Fatal(err)
			}
			if (result.RequeueAfter > 0) != tc.engineKnows {
				t.Errorf("%+v", result)
			}
			if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
				t.Fatal(err)
			}
			if s := m.Status; (m.ResourceVersion != before) != tc.wantWritten || s.Finished != tc.wantFinished ||
				s.Settled != tc.settled || s.Recipients[0].State != tc.wantState {
				t.Errorf("written: %v, status %+v", m.ResourceVersion != before, s)
			}
			// Without an event of the cache, nothing would drop it.
			if _, kept := r.written.Load(client.ObjectKeyFromObject(m)); kept && m.Status.Finished {
				t.Error("the version is kept")
			}
		})
	}
}

// TestCleanUp: finished messages are deleted after their TTL, or their status is completed.
func TestCleanUp(t *testing.T) {
	const routed = v1alpha1.StateRouted
	for name, tc := range map[string]struct {
		message           *v1alpha1.TeamTalkMessage
		want              string
		finished, settled bool
	}{
		"TTL is over":               {finishedMessage(routed, unsettle, setTTL(60)), "deleted", false, false},
		"TTL is not over":           {finishedMessage(routed, unsettle, setTTL(7200)), "later", true, false},
		"TTL removed":               {finishedMessage(routed, unsettle), "written", true, true},
		"from before the fields":    {finishedMessage(routed, unfinish), "written", true, true},
		"from before, with TTL":     {finishedMessage(routed, unfinish, setTTL(7200)), "written", true, false},
		"from before, retried":      {finishedMessage(routed, unfinish, askToRetry), "written", true, false},
		"no TTL":                    {finishedMessage(routed), "left", true, true},
		"to be read":                {finishedMessage(routed, unsettle, toRead), "left", true, false},
		"to be read, TTL":           {finishedMessage(routed, unsettle, toRead, setTTL(60)), "left", true, false},
		"read, TTL":                 {finishedMessage(routed, unsettle, toRead, isRead, setTTL(60)), "deleted", false, false},
		"retried":                   {finishedMessage(routed, unsettle, setTTL(60), askToRetry), "left", true, false},
		"edited":                    {finishedMessage(routed, unsettle, setTTL(60), changeSpec), "left", true, false},
		"finalizer of someone else": {finishedMessage(routed, unsettle, setTTL(60), beingDeleted), "left", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := tc.message
			r := newReconciler(t, m, 0)
			before := m.ResourceVersion
			key := client.ObjectKeyFromObject(m)
			result, err := r.cleanUp(t.Context(), reconcile.Request{NamespacedName: key})
			if err != nil {
				t.Fatal(err)
			}
			got := "left"
			err = r.Live.Get(t.Context(), key, m)
			switch {
			case apierrors.IsNotFound(err):
				got = "deleted"
			case err != nil:
				t.Fatal(err)
			case m.ResourceVersion != before:
				got = "written"
			case result.RequeueAfter > 0:
				got = "later"
			}
			if got != tc.want || got != "deleted" && (m.Status.Finished != tc.finished || m.Status.Settled != tc.settled) {
				t.Errorf("%s, want %s; status %+v", got, tc.want, m.Status)
			}
		})
	}
}

func beingDeleted(m *v1alpha1.TeamTalkMessage) {
	m.Finalizers, m.DeletionTimestamp = []string{"example.com/keep"}, new(metav1.Now())
}

// TestReadMessage: a message that the cache does not show is read from the API server while it is being delivered.
func TestReadMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		task, recorded bool
		recipient      v1alpha1.RecipientState
		want           bool
	}{
		"unknown to the engine": {},
		"under way":             {task: true, recorded: true, recipient: v1alpha1.StatePending, want: true},
		"ended, not recorded":   {task: true, recipient: v1alpha1.StateFailed, want: true},
		"ended, and recorded":   {task: true, recorded: true, recipient: v1alpha1.StateFailed},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StatePending)
			r := newReconciler(t, m, 0)
			r.Client = fake.NewClientBuilder().WithScheme(r.Client.Scheme()).Build() // an empty cache
			key := client.ObjectKeyFromObject(m)
			if tc.task {
				// Its payload is pending: nothing is sent.
				s, ok := r.Engine.Submit(delivery.Task{
					Key: key, UID: m.UID, PayloadPending: true,
					Recipients: []delivery.Progress{{State: tc.recipient}},
				})
				if !ok {
					t.Fatal("the engine has not taken the message")
				}
				if tc.recorded {
					r.Engine.Ack(m.UID, s.Revision)
				}
			}
			got, err := r.readMessage(t.Context(), key)
			if err != nil || (got.UID == m.UID) != tc.want {
				t.Errorf("%v %v", got.UID, err)
			}
		})
	}
}
