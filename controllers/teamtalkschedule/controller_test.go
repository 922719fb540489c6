// SPDX-License-Identifier: Apache-2.0

package teamtalkschedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

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

// TestHistoryIsRecordedFirst: a message that may not be kept is deleted only once its time is recorded.
func TestHistoryIsRecordedFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *v1alpha1.TeamTalkScheduleSpec) { s.SuccessfulHistoryLimit = new(int32(0)) })
	w.mustReconcile()
	w.refuse = func(verb string, o client.Object) error {
		if m, ok := o.(*v1alpha1.TeamTalkMessage); ok && verb == "create" {
			m.Status.CompletionTime = new(metav1.Now())
			m.Status.Conditions = []metav1.Condition{
				{Type: v1alpha1.ConditionFinished, Status: metav1.ConditionTrue},
				{Type: v1alpha1.ConditionDelivered, Status: metav1.ConditionTrue},
			}
		}
		if verb == "status" {
			return errors.New("connection lost")
		}
		return nil
	}
	now, _ := time.Parse(time.RFC3339, first)
	w.clock.SetTime(now)
	if err := w.reconcile(); err == nil {
		t.Fatal("no error")
	}
	list := &v1alpha1.TeamTalkMessageList{}
	if err := w.api.List(t.Context(), list); err != nil || len(list.Items) != 1 {
		t.Fatalf("messages %+v, %v; want the first", list.Items, err)
	}
	w.refuse = func(string, client.Object) error { return nil }
	w.restart()
	w.at("2026-03-07T09:00:05Z")
	w.wantTimes(first)
	if err := w.api.List(t.Context(), list); err != nil || len(list.Items) != 0 {
		t.Errorf("messages %+v, %v; want none", list.Items, err)
	}
}

// TestDeletedMessage: a recorded message is not created again.
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
			"no message was created for each time from " + first + " to " + second + ": only the message of the latest",
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

// TestSuspended: as with a CronJob, the latest time in a suspension is made up for within the deadline. The others were
// not to be sent, so they are not reported as missed.
func TestSuspended(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		deadline *int64
		// refused: at first the API server refuses the message.
		refused bool
		want    []string
	}{
		"made up for":                     {nil, false, []string{third}},
		"not after the deadline":          {new(int64(3600)), false, nil},
		"made up for when it is accepted": {nil, true, []string{third}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(s *v1alpha1.TeamTalkScheduleSpec) {
				s.Suspend, s.StartingDeadlineSeconds = new(true), tc.deadline
			})
			w.at(first)
			w.wantReady(metav1.ConditionTrue, v1alpha1.ReasonSuspended, "spec.suspend")
			w.at(third)
			w.wantTimes()
			if next := w.get().Status.NextScheduleTime; next != nil {
				t.Errorf("next at %v", next)
			}
			w.restart()
			missed := 0
			w.operator.OnTime = func(r Result) {
				if r == ResultMissed {
					missed++
				}
			}
			w.edit(func(s *v1alpha1.TeamTalkScheduleSpec) { s.Suspend = nil })
			w.clock.SetTime(w.clock.Now().Add(2 * time.Hour))
			if tc.refused {
				w.refuse = func(verb string, _ client.Object) error {
					if verb == "create" {
						return errors.New("quota exceeded")
					}
					return nil
				}
				if err := w.reconcile(); err == nil {
					t.Error("no error")
				}
				w.wantReady(metav1.ConditionFalse, v1alpha1.ReasonMessageNotCreated, "quota")
				w.refuse = func(string, client.Object) error { return nil }
			}
			w.mustReconcile()
			w.wantTimes(tc.want...)
			w.wantReady(metav1.ConditionTrue, v1alpha1.ReasonReady, "")
			for len(w.events.Events) > 0 {
				if e := <-w.events.Events; strings.Contains(e, v1alpha1.ReasonTimesMissed) {
					t.Errorf("event %s", e)
				}
			}
			if missed > 0 {
				t.Errorf("%d stretches in the suspension count as missed", missed)
			}
			w.at("2026-03-12T09:00:30Z") // without an operator until then
			w.wantEvent(v1alpha1.ReasonTimesMissed)
			if missed != 1 {
				t.Errorf("%d stretches count as missed, want 1", missed)
			}
		})
	}
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

// TestPriorities: what is due comes before the records of other messages, also those that have ended meanwhile.
func TestPriorities(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.at(first)
	ended := &v1alpha1.TeamTalkMessage{}
	if err := w.api.Get(t.Context(), types.NamespacedName{Namespace: "team", Name: "standup-29547900"}, ended); err != nil {
		t.Fatal(err)
	}
	queue := priorityqueue.New[reconcile.Request]("test")
	defer queue.ShutDown()
	messageEnded.Delete(t.Context(), event.DeleteEvent{Object: ended}, queue)
	messageEnded.Delete(t.Context(), event.DeleteEvent{Object: &v1alpha1.TeamTalkMessage{}}, queue)
	due := reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "team", Name: "due"}}
	// A new leader finds all schedules with this priority.
	queue.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, due)
	for _, want := range []reconcile.Request{due, {NamespacedName: w.key}} {
		if got, priority, _ := queue.GetWithPriority(); got != want {
			t.Errorf("got %s with priority %d, want %s", got, priority, want)
		}
	}
	if n := queue.Len(); n > 0 {
		t.Errorf("%d more requests", n)
	}
}

// TestHistory keeps unfinished messages, those that may still be read or escalated, and the newest of the others.
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
		if hour == 11 { // it may still be escalated
			m.Spec.ReadPolicy = &v1alpha1.ReadPolicy{}
			if err := w.api.Update(t.Context(), m); err != nil {
				t.Fatal(err)
			}
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
	if want := []string{"09", "11", "12", "14", "15", "16", "17", "18"}; !slices.Equal(hours, want) {
		t.Errorf("kept %v, want %v", hours, want)
	}
	s := w.get().Status
	if s.Active != 4 || s.LastSuccessfulTime.UTC().Format(time.RFC3339) != "2026-03-07T17:00:01Z" {
		t.Errorf("status %+v", s)
	}
}
