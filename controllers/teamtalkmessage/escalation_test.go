// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/router"
)

// mayEscalate is escalated if it is not read.
func mayEscalate(m *v1alpha1.TeamTalkMessage) {
	toRead(m)
	m.Spec.ReadPolicy.EscalateTo = &v1alpha1.Recipients{Users: []v1alpha1.UserID{4}, Groups: []v1alpha1.GroupID{7}}
}

func resolve(m *v1alpha1.TeamTalkMessage) {
	m.Annotations = map[string]string{v1alpha1.ResolvedAnnotation: "now"}
}

func deleted(m *v1alpha1.TeamTalkMessage) { m.DeletionTimestamp = new(metav1.Now()) }

// TestBeginEscalation: a message is escalated when it cannot be read in time any more, and not before.
func TestBeginEscalation(t *testing.T) {
	type changes = []func(*v1alpha1.TeamTalkMessage)
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		changes changes
		missed  string
		after   time.Duration
		want    string // the reason; "": it is not escalated
	}{
		"before the deadline":            {changes{recipients("R"), mayEscalate}, "", day - 1, ""},
		"unread":                         {changes{recipients("R"), mayEscalate}, "", day, v1alpha1.ReasonReadDeadlineExceeded},
		"read by some":                   {changes{recipients("rR"), mayEscalate}, "", day, v1alpha1.ReasonReadDeadlineExceeded},
		"read by the quorum":             {changes{recipients("rR"), mayEscalate, withQuorum(1)}, "", day, ""},
		"read":                           {changes{recipients("r"), mayEscalate}, "", day, ""},
		"may have been read":             {changes{recipients("R"), mayEscalate}, "who knows", day, v1alpha1.ReasonReadDeadlineExceeded},
		"may have been read, in time":    {changes{recipients("R"), mayEscalate}, "who knows", 0, ""},
		"delivered to nobody":            {changes{recipients("FF"), mayEscalate}, "", 0, v1alpha1.ReasonNotRouted},
		"delivered to less than must":    {changes{recipients("RF"), mayEscalate, withQuorum(2)}, "", 0, v1alpha1.ReasonNotRouted},
		"delivered to as many as must":   {changes{recipients("RF"), mayEscalate, withQuorum(1)}, "", 0, ""},
		"no policy":                      {changes{recipients("R")}, "", day, ""},
		"nobody to escalate to":          {changes{recipients("R"), toRead}, "", day, ""},
		"unfinished":                     {changes{recipients("F"), mayEscalate, unfinish}, "", day, ""},
		"deleted":                        {changes{recipients("R"), mayEscalate, deleted}, "", day, ""},
		"suspended":                      {changes{recipients("R"), mayEscalate, suspend}, "", day, ""},
		"suspended, delivered to nobody": {changes{recipients("FF"), mayEscalate, suspend}, "", 0, v1alpha1.ReasonNotRouted},
		"a policy without a deadline":    {changes{recipients("R"), mayEscalate, func(m *v1alpha1.TeamTalkMessage) { m.Spec.ReadPolicy.DeadlineSeconds = nil }}, "", day, v1alpha1.ReasonReadDeadlineExceeded},
		"the policy says another reason": {changes{recipients("R"), mayEscalate, exceeded}, "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, tc.changes...)
			now := m.Status.CompletionTime.Add(tc.after)
			setRead(m, tc.missed, now)
			if m.Status.Escalated() != (tc.want != "") || m.Escalating() != (tc.want != "") {
				t.Fatalf("escalated: %+v", m.Status.Escalation)
			}
			if tc.want == "" {
				return
			}
			e, c := m.Status.Escalation, meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated)
			if e.Reason != tc.want || !e.StartTime.Time.Equal(now.Truncate(time.Second)) || len(e.Recipients) != 2 || e.Counts.Recipients != 2 ||
				e.FirstLine == "" || m.Status.Settled || c == nil || c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonSending {
				t.Errorf("%+v, settled %v, %+v", e, m.Status.Settled, c)
			}
			// It happens once, whatever the policy says later.
			began := e.DeepCopy()
			m.Spec.ReadPolicy.EscalateTo.Users = nil
			setRead(m, "", now.Add(day))
			if again := m.Status.Escalation; !again.StartTime.Equal(began.StartTime) || len(again.Recipients) != 2 {
				t.Errorf("later: %+v", again)
			}
		})
	}
}

// TestEscalationAsksFirst: unless this process has recorded that an escalation begins, another one may have sent it,
// whatever its clock said.
func TestEscalationAsksFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		term  leadership.Term
		began time.Duration // since the term
		want  bool          // to ask
	}{
		"before a term":                     {leadership.Term{}, -time.Minute, true},
		"in it, or before by a clock ahead": {leadership.Term{}, time.Minute, true},
		"before a term that is clean":       {leadership.Term{Clean: true}, -time.Minute, false},
		"unrecorded": {leadership.Term{Clean: true, Unrecorded: leadership.Unrecorded{
			Namespaces: sets.New("chat"),
		}}, -time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, mayEscalate, exceeded)
			beginEscalation(m, time.Now())
			r := newReconciler(t, m, 0)
			tc.term.Start, tc.term.Local = metav1.NewTime(m.Status.Escalation.StartTime.Add(-tc.began)), time.Now()
			s := newEscalationScope(m, m.Escalation(), tc.term, time.Now())
			if asks := !s.earlierUntil.IsZero(); asks != tc.want || asks != (s.recipients[0].State == v1alpha1.StateInDoubt) {
				t.Errorf("asks until %v, %+v", s.earlierUntil, s.recipients)
			}
			if s.identity() != (delivery.Identity{UID: m.UID, Role: delivery.RoleEscalation}) {
				t.Errorf("%+v", s.identity())
			}
			r.escalationBegan(m, tc.term)
			if !r.isFresh(m.Escalation(), tc.term) {
				t.Error("asks although this process has recorded it")
			}
		})
	}
}

// TestEscalationRecipients: what was found for a name is kept, and never what became of an earlier escalation.
func TestEscalationRecipients(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, toRead)
	m.Spec.ReadPolicy.EscalateTo = &v1alpha1.Recipients{
		Users: []v1alpha1.UserID{4, 6}, UserNames: []string{"li.si", "of-6", "nobody", "new"}, GroupRefs: []v1alpha1.GroupReference{{Name: "oncall"}},
	}
	m.Status.Escalation = &v1alpha1.EscalationStatus{Recipients: []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 4, State: v1alpha1.StateRouted, MessageIDs: []int64{8}},
		{Type: v1alpha1.RecipientUser, ID: 5, Name: "li.si", State: v1alpha1.StateRouted, MessageIDs: []int64{9}},
		{Type: v1alpha1.RecipientUser, ID: 6, Name: "of-6", State: v1alpha1.StatePending},
		{Type: v1alpha1.RecipientUser, Name: "nobody", State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound},
		{Type: v1alpha1.RecipientUser, Name: "gone", State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound},
		{Type: v1alpha1.RecipientGroup, Ref: "oncall", State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonSuperseded},
	}}
	const pending = v1alpha1.StatePending
	want := []delivery.Progress{
		{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 4}, State: pending},
		{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 6}, ByName: "of-6", State: pending},
		{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 5}, ByName: "li.si", State: pending},
		{
			Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: "nobody"},
			State:     v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound,
		},
		{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, Name: "new"}, State: pending},
		{Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientGroup, Ref: "oncall"}, State: pending},
	}
	if diff := cmp.Diff(want, escalationRecipients(m)); diff != "" {
		t.Error(diff)
	}
}

// TestEscalationSize: the status of an escalation counts before anything is sent.
func TestEscalationSize(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, toRead)
	without := worstSize(m)
	m.Spec.ReadPolicy.EscalateTo = &v1alpha1.Recipients{}
	for i := range 100 {
		m.Spec.ReadPolicy.EscalateTo.Users = append(m.Spec.ReadPolicy.EscalateTo.Users, v1alpha1.UserID(i+10))
	}
	declared := worstSize(m)
	if more := declared - without; more < 100*storedSize(worstRecipient(1)) {
		t.Errorf("%d bytes more for 100 recipients", more)
	}
	exceeded(m)
	beginEscalation(m, time.Now())
	if begun := worstSize(m); begun > declared+1<<10 || begun < declared-1<<10 {
		t.Errorf("%d bytes, before %d", begun, declared)
	}
}

// TestEscalationKey: an escalation has a key that no message has.
func TestEscalationKey(t *testing.T) {
	key := client.ObjectKeyFromObject(finishedMessage(v1alpha1.StateRouted))
	if of, ok := v1alpha1.EscalationOf(v1alpha1.EscalationKey(key)); !ok || of != key {
		t.Errorf("%v, %v", of, ok)
	}
	if of, ok := v1alpha1.EscalationOf(key); ok {
		t.Errorf("%v is that of an escalation", of)
	}
}

// TestEscalationLooksUpAgain: names that were not found when the message was taken up are looked up when it is escalated.
func TestEscalationLooksUpAgain(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, mayEscalate, exceeded)
	m.Spec.ReadPolicy.EscalateTo = &v1alpha1.Recipients{UserNames: []string{"nobody"}}
	m.Status.Escalation = &v1alpha1.EscalationStatus{Recipients: []v1alpha1.RecipientStatus{{
		Type: v1alpha1.RecipientUser, Name: "nobody", State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound,
	}}}
	beginEscalation(m, time.Now())
	want := []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, Name: "nobody", State: v1alpha1.StatePending}}
	if diff := cmp.Diff(want, m.Status.Escalation.Recipients); diff != "" {
		t.Error(diff)
	}
}

// TestRetryEscalation: a retry tries again what failed with nothing stored, also if it was too large. This process
// records that, so it does not ask the store first.
func TestRetryEscalation(t *testing.T) {
	failed := v1alpha1.RecipientStatus{Type: v1alpha1.RecipientUser, ID: 4, State: v1alpha1.StateFailed, Reason: v1alpha1.ReasonGroupNotFound}
	routed := v1alpha1.RecipientStatus{Type: v1alpha1.RecipientGroup, ID: 7, State: v1alpha1.StateRouted, MessageIDs: []int64{8}}
	ended := func(recipients ...v1alpha1.RecipientStatus) func(*v1alpha1.TeamTalkMessage) {
		return func(m *v1alpha1.TeamTalkMessage) {
			m.Status.Escalation.Recipients, m.Status.Escalation.CompletionTime = recipients, m.Status.CompletionTime
		}
	}
	for name, tc := range map[string]struct {
		end  func(*v1alpha1.TeamTalkMessage)
		want int // recipients that are pending
	}{
		"failed in part": {ended(failed, routed), 1},
		"delivered":      {ended(routed), 0},
		"too large":      {ended(), 2},
		"under way": {func(m *v1alpha1.TeamTalkMessage) {
			ended(failed)(m)
			m.Status.Escalation.CompletionTime = nil
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, recipients("R"), mayEscalate, exceeded, askToRetry)
			beginEscalation(m, time.Now())
			tc.end(m)
			r := newReconciler(t, m, 1)
			isEscalating := m.Escalating()
			if _, err := r.reconcileEdit(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)}); err != nil {
				t.Fatal(err)
			}
			if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
				t.Fatal(err)
			}
			pending := 0
			for _, r := range m.Status.Escalation.Recipients {
				if r.State == v1alpha1.StatePending {
					pending++
				}
			}
			if pending != tc.want || m.RetryAsked() != isEscalating {
				t.Errorf("%+v, retry asked for: %v", m.Status.Escalation, m.RetryAsked())
			}
			term, err := r.Term.Term(t.Context())
			if fresh := r.isFresh(m.Escalation(), term); err != nil || fresh != (tc.want > 0) {
				t.Errorf("asks the store first: %v, %v", !fresh, err)
			}
		})
	}
}

// TestRetryOfKnownEscalation: before an escalation is retried, the engine is told that it has ended.
func TestRetryOfKnownEscalation(t *testing.T) {
	m := finishedMessage(v1alpha1.StateRouted, recipients("R"), mayEscalate, exceeded, askToRetry)
	beginEscalation(m, time.Now())
	m.Status.Escalation.CompletionTime = m.Status.CompletionTime
	r := newReconciler(t, m, 0)
	e := m.Escalation()
	if _, ok := r.Engine.Submit(delivery.Task{Key: client.ObjectKeyFromObject(e), UID: e.UID, PayloadPending: true}); !ok {
		t.Fatal("the engine has not taken the escalation")
	}
	result, err := r.reconcileEdit(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)})
	if err != nil || result.RequeueAfter == 0 {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestShorterDeadline: what was read before a deadline that an edit sets counts, also if the status does not show it yet.
func TestShorterDeadline(t *testing.T) {
	const deadline = 2 * time.Minute
	for name, tc := range map[string]struct {
		readAfter time.Duration // since it finished
		want      string
	}{
		"read in time":   {time.Minute, v1alpha1.ReasonRead},
		"read too late":  {deadline + time.Second, v1alpha1.ReasonReadDeadlineExceeded},
		"read just then": {deadline, v1alpha1.ReasonRead},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := finishedMessage(v1alpha1.StateRouted, recipients("R"), mayEscalate, unsettle)
				m.Status.CompletionTime = new(metav1.Now())
				r := newReconciler(t, m, 0)
				go func() { _ = r.Receipts.Start(t.Context()) }()
				r.keepRead(m)
				<-time.After(tc.readAfter)
				r.Receipts.Notify(m.ServerKey(), router.Read{User: 3, Session: 1, UpTo: 5})
				<-time.After(deadline)
				m.Generation, m.Spec.ReadPolicy.DeadlineSeconds = 2, new(int32(deadline/time.Second))
				if err := r.Live.Update(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				if _, err := r.reconcileEdit(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(m)}); err != nil {
					t.Fatal(err)
				}
				if err := r.Live.Get(t.Context(), client.ObjectKeyFromObject(m), m); err != nil {
					t.Fatal(err)
				}
				c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
				if c == nil || c.Reason != tc.want || m.Status.Escalated() == (tc.want == v1alpha1.ReasonRead) {
					t.Errorf("%+v, %+v", c, m.Status.Escalation)
				}
			})
		})
	}
}

// TestReadWhileSuspended: the deadline passes while a message is suspended. Whether it is escalated after that depends on
// what was read until the suspension ended, also if the status does not show it yet.
func TestReadWhileSuspended(t *testing.T) {
	for name, tc := range map[string]struct {
		isRead bool
		want   string
	}{
		"read":   {true, v1alpha1.ReasonRead},
		"unread": {false, v1alpha1.ReasonReadDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := finishedMessage(v1alpha1.StateRouted, recipients("R"), mayEscalate, unsettle, suspend)
				m.Status.CompletionTime = new(metav1.Now())
				r, _ := readable(t, m)
				go func() { _ = r.Receipts.Start(t.Context()) }()
				r.keepRead(m)
				<-time.After(25 * time.Hour)
				key := client.ObjectKeyFromObject(m)
				result, err := r.reconcileRead(t.Context(), reconcile.Request{NamespacedName: key})
				if due := time.Until(r.readDue.at[key]); err != nil || !result.IsZero() || due < readRecheck/3 {
					t.Errorf("%+v, %v, again in %v", result, err, due)
				}
				if err := r.Live.Get(t.Context(), key, m); err != nil {
					t.Fatal(err)
				}
				if !isReadSuspended(m) || m.Status.Settled || m.Status.Escalated() {
					t.Errorf("suspended: %+v", m.Status)
				}
				if tc.isRead {
					r.Receipts.Notify(m.ServerKey(), router.Read{User: 3, Session: 1, UpTo: 5})
				}
				synctest.Wait()
				m.Generation, m.Spec.Suspend = 2, nil
				if err := r.Live.Update(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				if _, err := r.reconcileEdit(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
					t.Fatal(err)
				}
				if err := r.Live.Get(t.Context(), key, m); err != nil {
					t.Fatal(err)
				}
				c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionRead)
				if c == nil || c.Reason != tc.want || m.Status.Escalated() == tc.isRead || m.Status.Settled != tc.isRead {
					t.Errorf("%+v, %+v", c, m.Status.Escalation)
				}
			})
		})
	}
}

// TestGroupsWaitAlone: that a TeamTalkGroup in escalateTo is not Ready proves nothing of recipients that are sent to.
func TestGroupsWaitAlone(t *testing.T) {
	waits := delivery.Progress{Recipient: groupRef("later"), State: v1alpha1.StatePending, Reason: v1alpha1.ReasonGroupNotReady}
	for name, tc := range map[string]struct {
		other *delivery.Progress
		want  string
	}{
		"alone":         {nil, v1alpha1.ReasonGroupNotReady},
		"one is sent":   {new(user(4, v1alpha1.StatePending, "")), v1alpha1.ReasonSending},
		"one in doubt":  {new(user(4, v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer)), v1alpha1.ReasonNoAnswer},
		"one is stored": {new(user(4, v1alpha1.StateStored, "")), v1alpha1.ReasonSending},
		"one has it":    {new(user(4, v1alpha1.StateRouted, "")), v1alpha1.ReasonGroupNotReady},
		"one failed":    {new(user(4, v1alpha1.StateFailed, v1alpha1.ReasonRecipientNotFound)), v1alpha1.ReasonGroupNotReady},
		"nobody has the name": {
			&delivery.Progress{Recipient: userName("nobody"), State: v1alpha1.StatePending}, v1alpha1.ReasonGroupNotReady,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := finishedMessage(v1alpha1.StateRouted, mayEscalate, exceeded)
			beginEscalation(m, time.Now())
			s := newEscalationScope(m, m.Escalation(), leadership.Term{Clean: true}, time.Now())
			if s.recipients = []delivery.Progress{waits}; tc.other != nil {
				s.recipients = append(s.recipients, *tc.other)
			}
			setStatus(s, nil, time.Now())
			applyEscalation(m, s.message)
			c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionEscalated)
			if c == nil || c.Reason != tc.want || m.Escalation().Status.WaitsUnsent() != (tc.want == v1alpha1.ReasonGroupNotReady) {
				t.Errorf("%+v", c)
			}
		})
	}
}
