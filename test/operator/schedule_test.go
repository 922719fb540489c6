// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/schedule"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// schedule is a schedule of each minute, for Alice.
func (x *tenant) schedule(name string, edits ...func(*v1alpha1.TeamTalkSchedule)) *v1alpha1.TeamTalkSchedule {
	text := "Stand-up"
	s := &v1alpha1.TeamTalkSchedule{ObjectMeta: x.Named(name)}
	s.Spec.Schedule, s.Spec.TimeZone = "* * * * *", "Asia/Shanghai"
	s.Spec.MessageTemplate.Spec = v1alpha1.TeamTalkMessageSpec{
		To: v1alpha1.Recipients{Users: []v1alpha1.UserID{v1alpha1.UserID(x.Alice)}}, Content: v1alpha1.Content{Text: &text},
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func (x *tenant) awaitSchedule(s *v1alpha1.TeamTalkSchedule, reason string) *v1alpha1.TeamTalkSchedule {
	x.Helper()
	return framework.AwaitObject(x.Tenant, s, reason, func(s *v1alpha1.TeamTalkSchedule) bool {
		ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == reason && s.Status.ObservedGeneration == s.Generation
	})
}

// TestSchedule sends at each minute. Other messages with the names of the first ones block it at first.
func TestSchedule(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	x.Timeout = 3 * framework.Timeout
	suspended := func(m *v1alpha1.TeamTalkMessage) { m.Spec.Suspend = new(true) }
	var others []*v1alpha1.TeamTalkMessage
	for minute := range int64(3) {
		name := fmt.Sprintf("standup-%d", time.Now().Unix()/60+minute)
		others = append(others, x.Declare(name, "not sent", toUsers(x.Alice), suspended))
	}
	s := x.schedule("standup")
	x.Create(s)
	x.awaitSchedule(s, v1alpha1.ReasonReady)
	x.awaitSchedule(s, v1alpha1.ReasonMessageNotCreated)
	x.AwaitEvent("standup", v1alpha1.ReasonMessageNotCreated)
	for _, m := range others {
		x.Delete(m)
	}
	got := framework.AwaitObject(x.Tenant, s, "successful", func(s *v1alpha1.TeamTalkSchedule) bool {
		return s.Status.LastSuccessfulTime != nil && s.Status.Active == 0
	})
	x.AwaitEvent("standup", v1alpha1.ReasonMessageCreated)
	at := got.Status.LastScheduleTime
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(fmt.Sprintf("standup-%d", at.Unix()/60))}
	x.checkDelivered(x.AwaitDelivered(m))
	x.Get(got)
	x.Patch(got, `{"spec":{"suspend":true}}`)
	x.awaitSchedule(s, v1alpha1.ReasonSuspended)
	times := map[string]bool{}
	for _, m := range x.Messages() {
		times[m.Annotations[v1alpha1.ScheduledAtAnnotation]] = true
		x.AwaitDelivered(&m)
	}
	if rows := x.Rows(); len(rows) != len(times) || rows[0].Text != "Stand-up" {
		t.Errorf("%d scheduled times, and the store holds %+v", len(times), rows)
	}
	x.Patch(got, `{"spec":{"suspend":false,"schedule":"0 0 31 2 *"}}`)
	x.awaitSchedule(s, v1alpha1.ReasonInvalidSchedule)
	x.AwaitEvent("standup", v1alpha1.ReasonInvalidSchedule)
}

// TestScheduleByName: a message to a name is due at once, because the last time that was handled is long ago.
func TestScheduleByName(t *testing.T) {
	t.Parallel()
	x := newTenantWithTeamTalk(t)
	s := x.schedule("reminder", func(s *v1alpha1.TeamTalkSchedule) {
		s.Spec.Schedule, s.Spec.Suspend = "@yearly", new(true)
		s.Spec.MessageTemplate.Spec.To = v1alpha1.Recipients{UserNames: []string{login(x.Alice)}, GroupNames: []string{"oncall"}}
	})
	x.Create(s)
	s = x.awaitSchedule(s, v1alpha1.ReasonSuspended)
	before := s.DeepCopy()
	s.Status.HandledUntil = new(metav1.NewTime(time.Now().AddDate(-2, 0, 0)))
	x.Must(world.Admin.Status().Patch(t.Context(), s, client.MergeFrom(before)))
	x.Patch(s, `{"spec":{"suspend":false}}`)
	s = framework.AwaitObject(x.Tenant, s, "successful", func(s *v1alpha1.TeamTalkSchedule) bool {
		return s.Status.LastSuccessfulTime != nil && s.Status.Active == 0
	})
	m := x.AwaitDelivered(&v1alpha1.TeamTalkMessage{ObjectMeta: x.Named(fmt.Sprintf("reminder-%d", s.Status.LastScheduleTime.Unix()/60))})
	x.checkDelivered(m)
	if alice, group := statusOf(m, login(x.Alice)), statusOf(m, "oncall"); alice.ID != int64(x.Alice) || group.ID != int64(x.OnCall) {
		t.Errorf("%+v", m.Status.Recipients)
	}
	to := map[uint32]bool{}
	for _, row := range x.CheckRows(2) {
		to[row.To] = true
	}
	if !to[x.Alice] || !to[x.OnCall] {
		t.Errorf("sent to %v", to)
	}
}

func TestScheduleAdmission(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	spec := func(edit func(*v1alpha1.TeamTalkScheduleSpec)) func(*v1alpha1.TeamTalkSchedule) {
		return func(s *v1alpha1.TeamTalkSchedule) { edit(&s.Spec) }
	}
	expression := func(value string) func(*v1alpha1.TeamTalkSchedule) {
		return spec(func(s *v1alpha1.TeamTalkScheduleSpec) { s.Schedule = value })
	}
	message := func(edit func(*v1alpha1.TeamTalkMessageSpec)) func(*v1alpha1.TeamTalkSchedule) {
		return spec(func(s *v1alpha1.TeamTalkScheduleSpec) { edit(&s.MessageTemplate.Spec) })
	}
	tests := map[string]struct {
		edit func(*v1alpha1.TeamTalkSchedule)
		want string // in the refusal; "": none
	}{
		"as it is":        {func(*v1alpha1.TeamTalkSchedule) {}, ""},
		"working days":    {expression("30 9 * * MON-FRI"), ""},
		"a macro":         {expression("@daily"), ""},
		"steps and lists": {expression("*/15 8-18 1,15 jan-mar,12 *"), ""},
		"the limits":      {expression("0-59/59,059 0-23/23 1-31/30,031 1-12/11,012 0-7/7,07"), ""},
		"over midnight":   {expression("50-10 22-2 30-2 11-2 sat-mon"), ""},
		"seconds":         {expression("0 0 9 * * *"), "five fields"},
		"minute 60":       {expression("60 * * * *"), "minutes and their steps are at most 59"},
		"in a list":       {expression("0,30,60 * * * *"), "minutes and their steps"},
		"in a range":      {expression("0-100/2 * * * *"), "minutes and their steps"},
		"as a step":       {expression("*/60 * * * *"), "minutes and their steps"},
		"after zeros":     {expression(" 0060\t* * * *"), "minutes and their steps"},
		"hour 24":         {expression("0 24 * * *"), "hours and their steps are at most 23"},
		"hour 100":        {expression("0 8-100 * * *"), "hours and their steps"},
		"day 0":           {expression("0 9 0 * *"), "days of month are 1 to 31"},
		"day 32":          {expression("0 9 1,32 * *"), "days of month"},
		"month 0":         {expression("0 9 * 0-3 *"), "months are 1 to 12"},
		"month 13":        {expression("0 9 * jan,13 *"), "months are 1 to 12"},
		"weekday 8":       {expression("0 9 * * 1-8"), "days of week are 0 (Sunday) to 7"},
		"weekday 10":      {expression("0 9 * * 10 "), "days of week"},
		"no step":         {expression("*/0 9 * * *"), "a step is at least 1"},
		"words":           {expression("every day at 9"), "five fields"},
		"an interval":     {expression("@every 1h"), "five fields"},
		"a zone inside":   {expression("TZ=Asia/Shanghai 0 9 * * *"), "set timeZone instead"},
		"the local zone":  {spec(func(s *v1alpha1.TeamTalkScheduleSpec) { s.TimeZone = "Local" }), "IANA"},
		"no deadline":     {spec(func(s *v1alpha1.TeamTalkScheduleSpec) { s.StartingDeadlineSeconds = new(int64(0)) }), "startingDeadlineSeconds"},
		"too long a name": {func(s *v1alpha1.TeamTalkSchedule) { s.Name = strings.Repeat("n", 53) }, "52 characters"},
		"a key":           {message(func(m *v1alpha1.TeamTalkMessageSpec) { m.IdempotencyKey = "k" }), "idempotencyKey"},
		"a point in time": {message(func(m *v1alpha1.TeamTalkMessageSpec) { m.SendAfter = new(metav1.Now()) }), "activeDeadlineSeconds"},
		"no recipient":    {message(func(m *v1alpha1.TeamTalkMessageSpec) { m.To = v1alpha1.Recipients{} }), "spec.messageTemplate.spec.to"},
		"itself":          {message(func(m *v1alpha1.TeamTalkMessageSpec) { m.SenderID = &m.To.Users[0] }), "senderID must not be"},
		"a sound": {message(func(m *v1alpha1.TeamTalkMessageSpec) {
			m.Content = v1alpha1.Content{Audio: &v1alpha1.AudioContent{
				Seconds: 1, ConfigMapKeyRef: v1alpha1.ConfigMapKeyRef{Name: "voice", Key: "k"},
			}}
		}), "audio cannot be scheduled"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := x.schedule("s", tc.edit)
			_, invalid := schedule.Parse(s.Spec.Schedule, "")
			err := world.Admin.Create(t.Context(), s, client.DryRunAll)
			if (err == nil) != (invalid == nil) && s.Spec.Schedule != "* * * * *" {
				t.Errorf("the API server says %v, the operator would say %v", err, invalid)
			}
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
