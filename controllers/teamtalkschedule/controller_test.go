// SPDX-License-Identifier: Apache-2.0

package teamtalkschedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

const first, second, third = "2026-03-07T09:00:00Z", "2026-03-08T09:00:00Z", "2026-03-09T09:00:00Z"

func TestMessagesAreCreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustReconcile()
	w.wantTimes()
	w.wantReady(metav1.ConditionTrue, v1alpha1.ReasonReady, "")
	w.at(first)
	w.wantEvent("MessageCreated created message standup-29547900")
	w.at("2026-03-07T09:00:30Z")
	w.restart()
	w.at("2026-03-07T20:00:00Z")
	w.at("2026-03-08T09:00:07Z")
	w.wantTimes(first, second)
	o := w.get()
	if s := o.Status; s.LastScheduleTime.UTC().Format(time.RFC3339) != second || s.Active != 2 ||
		s.NextScheduleTime.UTC().Format(time.RFC3339) != third {
		t.Errorf("status %+v", s)
	}
	m := &v1alpha1.TeamTalkMessage{}
	if err := w.api.Get(t.Context(), types.NamespacedName{Namespace: "team", Name: "standup-29547900"}, m); err != nil {
		t.Fatal(err)
	}
	if !metav1.IsControlledBy(m, o) || m.Labels["team"] != "db" || m.Labels[v1alpha1.ScheduleLabel] != "standup" ||
		m.Annotations[v1alpha1.ScheduledAtAnnotation] != first || *m.Spec.Content.Text != "Stand-up" {
		t.Errorf("message %+v", m)
	}
}

// TestLostStatus: the operator creates a message, and ends before it records that.
func TestLostStatus(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		deleted bool // and somebody deletes the message
		want    []string
	}{
		"the message exists": {false, []string{first}},
		// It has the same key, by which the first one is found in the store.
		"it was deleted": {true, []string{first, first}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.mustReconcile()
			lost := errors.New("connection lost")
			w.refuse = func(verb string, _ client.Object) error {
				if verb == "status" {
					return lost
				}
				return nil
			}
			now, _ := time.Parse(time.RFC3339, first)
			w.clock.SetTime(now)
			if err := w.reconcile(); !errors.Is(err, lost) {
				t.Fatalf("got %v, want %v", err, lost)
			}
			if tc.deleted {
				if err := w.api.DeleteAllOf(t.Context(), &v1alpha1.TeamTalkMessage{}, client.InNamespace("team")); err != nil {
					t.Fatal(err)
				}
			}
			w.refuse = func(string, client.Object) error { return nil }
			w.restart()
			w.at("2026-03-07T09:00:05Z")
			w.at("2026-03-07T10:00:00Z")
			w.wantTimes(tc.want...)
			if last := w.get().Status.LastScheduleTime; last == nil || last.UTC().Format(time.RFC3339) != first {
				t.Errorf("last %v, want %s", last, first)
			}
		})
	}
}

// TestDeletedMessage: what was recorded is not created again.
func TestDeletedMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.at(first)
	if err := w.api.DeleteAllOf(t.Context(), &v1alpha1.TeamTalkMessage{}, client.InNamespace("team")); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.at("2026-03-07T09:00:30Z")
	w.wantTimes(first)
}

func TestOutage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit      func(*v1alpha1.TeamTalkScheduleSpec)
		back      string
		want      []string
		wantEvent string
	}{
		"the latest is made up for": {
			func(*v1alpha1.TeamTalkScheduleSpec) {}, "2026-03-09T15:00:00Z", []string{third},
			"no message was created for each time from " + first + " to " + second + ": only the latest",
		},
		"not after the deadline": {
			func(s *v1alpha1.TeamTalkScheduleSpec) { s.StartingDeadlineSeconds = new(int64(3600)) },
			"2026-03-09T15:00:00Z", nil, "to " + third + ", more than startingDeadlineSeconds (3600) ago",
		},
		"more than 100 missed": {
			func(s *v1alpha1.TeamTalkScheduleSpec) { s.Schedule = "* * * * *" },
			"2026-03-09T15:00:30Z", []string{"2026-03-09T15:00:00Z"}, "from 2026-03-07T08:01:00Z to 2026-03-09T14:59:00Z",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.edit)
			w.at(tc.back)
			w.wantTimes(tc.want...)
			w.wantEvent(tc.wantEvent)
			w.mustReconcile()
			w.wantTimes(tc.want...)
			if len(w.events.Events) > 0 {
				t.Errorf("another event: %s", <-w.events.Events)
			}
		})
	}
}

func TestSuspended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *v1alpha1.TeamTalkScheduleSpec) { s.Suspend = new(true) })
	w.at(first)
	w.wantReady(metav1.ConditionTrue, v1alpha1.ReasonSuspended, "spec.suspend")
	w.at("2026-03-08T12:00:00Z")
	w.wantTimes()
	if next := w.get().Status.NextScheduleTime; next != nil {
		t.Errorf("next at %v", next)
	}
	w.edit(func(s *v1alpha1.TeamTalkScheduleSpec) { s.Suspend = nil })
	w.mustReconcile()
	w.wantTimes(second) // as a CronJob
}

// TestEdit: a changed schedule makes nothing up for, as a CronJob would.
func TestEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.at(first)
	w.edit(func(s *v1alpha1.TeamTalkScheduleSpec) { s.Schedule = "0 8 * * *" })
	w.at("2026-03-07T12:00:00Z")
	w.edit(func(s *v1alpha1.TeamTalkScheduleSpec) { s.TimeZone = "Asia/Shanghai" })
	w.at("2026-03-07T12:01:00Z")
	w.edit(func(s *v1alpha1.TeamTalkScheduleSpec) { s.MessageTemplate.Metadata.Labels = nil })
	w.at("2026-03-08T00:00:00Z")
	w.wantTimes(first, "2026-03-08T00:00:00Z")
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		edit func(*v1alpha1.TeamTalkScheduleSpec)
		want string
	}{
		"never due":    {func(s *v1alpha1.TeamTalkScheduleSpec) { s.Schedule = "0 0 30 2 *" }, "never due"},
		"unknown zone": {func(s *v1alpha1.TeamTalkScheduleSpec) { s.TimeZone = "Mars/Olympus" }, "IANA"},
		"a bad label": {func(s *v1alpha1.TeamTalkScheduleSpec) {
			s.MessageTemplate.Metadata.Labels = map[string]string{"team": "a b"}
		}, "messageTemplate.metadata.labels"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tc.edit)
			w.at(first)
			w.wantReady(metav1.ConditionFalse, v1alpha1.ReasonInvalidSchedule, tc.want)
			if !meta.IsStatusConditionTrue(w.get().Status.Conditions, v1alpha1.ConditionStalled) {
				t.Error("it is not stalled")
			}
			w.edit(func(s *v1alpha1.TeamTalkScheduleSpec) {
				s.Schedule, s.TimeZone, s.MessageTemplate.Metadata.Labels = "0 9 * * *", "", nil
			})
			w.at("2026-03-07T09:30:00Z")
			w.wantReady(metav1.ConditionTrue, v1alpha1.ReasonReady, "")
			w.at(second)
			if w.created == nil {
				t.Error("nothing was created after the fix")
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustReconcile()
	quota := apierrors.NewForbidden(v1alpha1.GroupVersion.WithResource("teamtalkmessages").GroupResource(), "standup",
		errors.New("exceeded quota"))
	w.refuse = func(verb string, _ client.Object) error {
		if verb == "create" {
			return quota
		}
		return nil
	}
	now, _ := time.Parse(time.RFC3339, first)
	w.clock.SetTime(now)
	if err := w.reconcile(); !apierrors.IsForbidden(err) {
		t.Fatalf("got %v", err)
	}
	w.wantReady(metav1.ConditionFalse, v1alpha1.ReasonMessageNotCreated, "exceeded quota")
	w.wantEvent("MessageNotCreated")
	w.refuse = func(string, client.Object) error { return nil }
	w.at("2026-03-07T09:05:00Z")
	w.wantReady(metav1.ConditionTrue, v1alpha1.ReasonReady, "")
	w.wantTimes(first)
}

// TestNameTaken: a message that is not the schedule's is neither adopted nor changed.
func TestNameTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustReconcile()
	other := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "standup-29547900"}}
	if err := w.api.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	w.created = nil
	now, _ := time.Parse(time.RFC3339, first)
	w.clock.SetTime(now)
	if err := w.reconcile(); err == nil {
		t.Fatal("no error")
	}
	w.wantReady(metav1.ConditionFalse, v1alpha1.ReasonMessageNotCreated, "does not belong to this schedule")
	if err := w.api.Delete(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	w.at("2026-03-07T09:05:00Z")
	w.wantTimes(first)
}

// TestClockJumps: a clock that is set back creates no message twice, and none is left out after it was ahead.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.at(first)
	w.at("2026-03-07T08:30:00Z")
	w.at(first)
	w.wantTimes(first)
	w.at("2026-03-09T10:00:00Z") // two days ahead, for a moment
	w.at("2026-03-07T10:00:00Z")
	w.at(second)
	w.at(third)
	w.wantTimes(first, third, second)
	w.at("2026-03-10T09:00:00Z")
	w.wantTimes(first, third, second, "2026-03-10T09:00:00Z")
}

// TestHistory keeps unfinished messages, and the newest of the others.
func TestHistory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *v1alpha1.TeamTalkScheduleSpec) {
		s.Schedule, s.SuccessfulHistoryLimit = "0 * * * *", new(int32(2))
	})
	w.mustReconcile()
	for hour := 9; hour < 19; hour++ {
		w.at(fmt.Sprintf("2026-03-07T%02d:00:00Z", hour))
		m := &v1alpha1.TeamTalkMessage{}
		name := strings.Fields(w.created[len(w.created)-1])[0]
		if err := w.api.Get(t.Context(), types.NamespacedName{Namespace: "team", Name: name}, m); err != nil {
			t.Fatal(err)
		}
		delivered := metav1.ConditionTrue
		switch hour % 3 {
		case 0:
			continue // unfinished
		case 1:
			delivered = metav1.ConditionFalse
		}
		m.Status.CompletionTime = new(metav1.NewTime(w.clock.Now().Add(time.Second)))
		m.Status.Conditions = []metav1.Condition{
			{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue}, {Type: v1alpha1.ConditionDelivered, Status: delivered},
		}
		if err := w.api.Status().Update(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	w.mustReconcile()
	list := &v1alpha1.TeamTalkMessageList{}
	if err := w.api.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var hours []string
	for _, m := range list.Items {
		hours = append(hours, m.Annotations[v1alpha1.ScheduledAtAnnotation][11:13])
	}
	slices.Sort(hours)
	if want := []string{"09", "12", "14", "15", "16", "17", "18"}; !slices.Equal(hours, want) {
		t.Errorf("kept %v, want %v", hours, want)
	}
	s := w.get().Status
	if s.Active != 4 || s.LastSuccessfulTime.UTC().Format(time.RFC3339) != "2026-03-07T17:00:01Z" {
		t.Errorf("status %+v", s)
	}
}
