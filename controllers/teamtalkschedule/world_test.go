// SPDX-License-Identifier: Apache-2.0

package teamtalkschedule

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// world is a schedule of a test, with a clock and an API that the test controls.
type world struct {
	*testing.T
	api      client.WithWatch
	clock    *clocktesting.FakePassiveClock
	events   *events.FakeRecorder
	key      types.NamespacedName
	operator *Reconciler
	// refuse returns the error of the API server to a request; nil: it is executed.
	refuse func(verb string, o client.Object) error
	// created are the names and keys of all messages that were created.
	created []string
}

// newWorld creates a schedule at 2026-03-07T08:00:00Z: a message daily at 09:00.
func newWorld(t *testing.T, edits ...func(*v1alpha1.TeamTalkScheduleSpec)) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, key: types.NamespacedName{Namespace: "team", Name: "standup"}, events: events.NewFakeRecorder(100),
		clock:  clocktesting.NewFakePassiveClock(time.Date(2026, 3, 7, 8, 0, 0, 0, time.UTC)),
		refuse: func(string, client.Object) error { return nil },
	}
	text := "Stand-up"
	o := &v1alpha1.TeamTalkSchedule{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.key.Namespace, Name: w.key.Name, UID: "u1", Generation: 1,
			CreationTimestamp: metav1.NewTime(w.clock.Now()),
		},
		Spec: v1alpha1.TeamTalkScheduleSpec{
			Schedule: "0 9 * * *", SuccessfulHistoryLimit: new(int32(3)), FailedHistoryLimit: new(int32(1)),
			MessageTemplate: v1alpha1.MessageTemplate{
				Metadata: v1alpha1.TemplateMetadata{Labels: map[string]string{"team": "db"}},
				Spec: v1alpha1.TeamTalkMessageSpec{
					To: v1alpha1.Recipients{Groups: []v1alpha1.GroupID{7}}, Content: v1alpha1.Content{Text: &text},
				},
			},
		},
	}
	for _, edit := range edits {
		edit(&o.Spec)
	}
	w.api = fake.NewClientBuilder().WithScheme(scheme).WithObjects(o).
		WithStatusSubresource(&v1alpha1.TeamTalkSchedule{}, &v1alpha1.TeamTalkMessage{}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if err := w.refuse("create", o); err != nil {
					return err
				}
				err := c.Create(ctx, o, opts...)
				if m, ok := o.(*v1alpha1.TeamTalkMessage); ok && err == nil {
					w.created = append(w.created, m.Name+" "+m.Spec.IdempotencyKey)
				}
				return err
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, _ string, o client.Object, patch client.Patch,
				opts ...client.SubResourcePatchOption,
			) error {
				if err := w.refuse("status", o); err != nil {
					return err
				}
				return c.Status().Patch(ctx, o, patch, opts...)
			},
		}).Build()
	w.restart()
	return w
}

// restart starts an operator that remembers nothing.
func (w *world) restart() {
	w.operator = &Reconciler{Client: w.api, Live: w.api, Clock: w.clock, Recorder: w.events, OnTime: func(Result) {}}
}

// reconcile reconciles until nothing is due, and returns the last error.
func (w *world) reconcile() error {
	w.Helper()
	for range 10 {
		result, err := w.operator.Reconcile(w.Context(), reconcile.Request{NamespacedName: w.key})
		if err != nil {
			return err
		}
		if result.RequeueAfter == 0 || result.RequeueAfter >= time.Second {
			return nil
		}
	}
	w.Fatal("it does not come to rest")
	return nil
}

func (w *world) mustReconcile() {
	w.Helper()
	if err := w.reconcile(); err != nil {
		w.Fatal(err)
	}
}

// at sets the clock, and reconciles.
func (w *world) at(value string) {
	w.Helper()
	now, err := time.Parse(time.RFC3339, value)
	if err != nil {
		w.Fatal(err)
	}
	w.clock.SetTime(now)
	w.mustReconcile()
}

func (w *world) get() *v1alpha1.TeamTalkSchedule {
	w.Helper()
	o := &v1alpha1.TeamTalkSchedule{}
	if err := w.api.Get(w.Context(), w.key, o); err != nil {
		w.Fatal(err)
	}
	return o
}

func (w *world) edit(edit func(*v1alpha1.TeamTalkScheduleSpec)) {
	w.Helper()
	o := w.get()
	edit(&o.Spec)
	o.Generation++
	if err := w.api.Update(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// wantTimes checks the scheduled times of all messages that were created, by their names and keys.
func (w *world) wantTimes(times ...string) {
	w.Helper()
	var want []string
	for _, value := range times {
		at, err := time.Parse(time.RFC3339, value)
		if err != nil {
			w.Fatal(err)
		}
		want = append(want, fmt.Sprintf("standup-%d schedule-u1-%s", at.Unix()/60, at.Format("20060102T1504Z")))
	}
	if !slices.Equal(w.created, want) {
		w.Errorf("created %v, want %v", w.created, want)
	}
}

// wantReady checks the condition Ready, and a part of its message.
func (w *world) wantReady(status metav1.ConditionStatus, reason, part string) {
	w.Helper()
	o := w.get()
	ready := meta.FindStatusCondition(o.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Status != status || ready.Reason != reason || !strings.Contains(ready.Message, part) {
		w.Errorf("Ready is %+v, want %s %s %q", ready, status, reason, part)
	}
	if o.Status.ObservedGeneration != o.Generation {
		w.Errorf("generation %d was observed, want %d", o.Status.ObservedGeneration, o.Generation)
	}
}

// wantEvent checks that the oldest event that was not looked at says something.
func (w *world) wantEvent(part string) {
	w.Helper()
	for {
		select {
		case e := <-w.events.Events:
			if strings.Contains(e, part) {
				return
			}
		default:
			w.Errorf("no event with %q", part)
			return
		}
	}
}
