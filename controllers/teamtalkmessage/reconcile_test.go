// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
	"github.com/teamtalk-io/teamtalk-operator/internal/connection"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/internal/readreceipt"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
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
		Engine: delivery.NewEngine(func(types.NamespacedName) {}), Receipts: readreceipt.NewTracker(),
		Term:  leadership.NewTermTracker(api, api, client.ObjectKeyFromObject(lease), "me", time.Second),
		Gate:  func() error { return nil },
		store: toolscache.NewStore(toolscache.MetaNamespaceKeyFunc),
	}
	r.Claims = leadership.NewClaims(r.Term, r.Gate)
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

// TestDrainedRecordsNothing: a drained operator may have marked the Lease. The next one would not see later writes.
func TestDrainedRecordsNothing(t *testing.T) {
	for name, drain := range map[string]bool{"at work": false, "drained": true} {
		t.Run(name, func(t *testing.T) {
			m := expired()
			r := newReconciler(t, m, 0)
			if drain {
				if _, err := r.Engine.Drain(t.Context(), time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			if _, written := look(t, r, m); written == drain {
				t.Errorf("written: %v", written)
			}
		})
	}
}

// TestWaitingIsRecordedAsOver: a status that proves that nothing was sent is replaced before anything is sent.
func TestWaitingIsRecordedAsOver(t *testing.T) {
	missing := &v1alpha1.Cause{Reason: v1alpha1.ReasonContentNotFound}
	for name, tc := range map[string]struct {
		reason         string
		payloadPending *v1alpha1.Cause
		want           outcome
	}{
		"waiting":         {v1alpha1.ReasonScheduled, nil, recordFirst},
		"under way":       {v1alpha1.ReasonSending, nil, submitted},
		"without content": {v1alpha1.ReasonContentNotFound, missing, done}, // it would be written again as it is
	} {
		t.Run(name, func(t *testing.T) {
			m := expired()
			m.Spec.Deadline, m.Spec.RetryLimit = nil, new(int32)
			r := newReconciler(t, m, 0)
			m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: tc.reason}}
			term := leadership.Term{Clean: true}
			s := newScope(m, term, noon)
			s.server = &v1alpha1.TeamTalkServer{}
			s.server.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"127.0.0.1:1"}
			s.server.Spec.MaxReplicaLagSeconds = new(int32)
			nothing := func(types.NamespacedName) {}
			sessions := connection.NewManager(logr.Discard(), dbproxy.NewLimits(64, 8), r.Gate, connection.Events{Connection: nothing, Usable: nothing})
			s.session = sessions.Ensure(types.NamespacedName{}, connection.ConfigOf(s.server), cipher.Keys{})
			s.payload, s.payloadPending = delivery.Payload{Data: []byte("hello")}, tc.payloadPending
			out, err := r.submit(t.Context(), s)
			if err != nil || out != tc.want || r.Engine.Knows(m.UID) != (tc.want != recordFirst) {
				t.Errorf("%+v, %v, want %+v; submitted: %v", out, err, tc.want, r.Engine.Knows(m.UID))
			}
			ended, end := context.WithCancel(t.Context())
			end()
			if err := errors.Join(r.Engine.Start(ended), sessions.Start(ended)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestClosedGateRecordsNoWaiting: what a message waits for here proves nothing while another operator may lead.
func TestClosedGateRecordsNoWaiting(t *testing.T) {
	for name, closed := range map[string]error{"open": nil, "closed": leadership.ErrGateClosed} {
		t.Run(name, func(t *testing.T) {
			m := expired()
			m.Spec.Deadline = nil
			r := newReconciler(t, m, 0)
			r.Gate = func() error { return closed }
			if _, written := look(t, r, m); written != (closed == nil) {
				t.Errorf("written: %v", written)
			}
		})
	}
}

// TestStagedAfterTakeover: audio that no earlier operator has staged was not sent. It is in doubt neither before this
// process has staged it nor afterwards; for the next process it is.
func TestStagedAfterTakeover(t *testing.T) {
	m := expired()
	m.Spec.Deadline, m.Spec.Content = nil, v1alpha1.Content{Audio: &v1alpha1.AudioContent{}}
	m.CreationTimestamp = metav1.NewTime(m.CreationTimestamp.Truncate(time.Second))
	r := newReconciler(t, m, 1)
	term, err := r.Term.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begin := func(r *Reconciler) *scope {
		s := newScope(m, term, time.Now())
		if r.isFresh(m, term) {
			s.dropEarlierDoubts()
		}
		s.server, s.sender, s.payload = &v1alpha1.TeamTalkServer{}, 1, delivery.Payload{Audio: true, Data: []byte("sound")}
		return s
	}
	wantState := func(s *scope, want v1alpha1.RecipientState) {
		t.Helper()
		if p := s.recipients[0]; p.State != want || s.earlierUntil.IsZero() != (want == v1alpha1.StatePending) {
			t.Errorf("%s %s, until %v", p.State, p.Reason, s.earlierUntil)
		}
	}
	s := begin(r)
	wantState(s, v1alpha1.StatePending)
	out := r.stageCreateTime(s)
	if out != recordFirst || s.recipients[0].CreateTime == 0 {
		t.Fatalf("not staged: %+v", out)
	}
	if _, err := r.record(t.Context(), s, out); err != nil {
		t.Fatal(err)
	}
	s = begin(r)
	wantState(s, v1alpha1.StatePending)
	if out := r.stageCreateTime(s); out != proceed {
		t.Errorf("staged again: %+v", out)
	}
	wantState(begin(&Reconciler{}), v1alpha1.StateInDoubt)
	m.UID = "recreated"
	wantState(begin(r), v1alpha1.StateInDoubt)
}

// TestAddStaged: a message has another second than those that the cache shows.
func TestAddStaged(t *testing.T) {
	engine := delivery.NewEngine(func(types.NamespacedName) {})
	staged := metav1.NewTime(time.Now().Add(time.Minute).Truncate(time.Second))
	m := expired()
	m.Status.SenderID = new(v1alpha1.UserID(1))
	m.Status.Recipients = []v1alpha1.RecipientStatus{{Type: v1alpha1.RecipientUser, ID: 3, CreateTime: &staged}}
	addStaged(engine, m)
	got := engine.Stage(m.ServerKey(), 1, v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 3}, time.Now())
	if want := uint32(staged.Unix()) + 1; got != want {
		t.Errorf("%d, want %d", got, want)
	}
}

// TestEarlierDoubtsAreNotRecordedAtOnce: what a lost leader may have sent is searched for before the status shows a
// doubt. It shows it if the search takes long, and before a drain ends.
func TestEarlierDoubtsAreNotRecordedAtOnce(t *testing.T) {
	m := expired()
	m.Spec.Deadline, m.Spec.RetryLimit = nil, new(int32)
	r := newReconciler(t, m, 1)
	term, err := r.Term.Term(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	server := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "default"}}
	server.Spec.DBProxy.Endpoints = []v1alpha1.Endpoint{"127.0.0.1:1"} // refused
	server.Spec.DBProxy.Connections = 1
	server.Spec.SettleSeconds, server.Spec.MaxReplicaLagSeconds = 3, new(int32(2))
	nothing := func(types.NamespacedName) {}
	open := func() error { return nil }
	sessions := connection.NewManager(logr.Discard(), dbproxy.NewLimits(64, 8), open, connection.Events{Connection: nothing, Usable: nothing})
	session := sessions.Ensure(client.ObjectKeyFromObject(server), connection.ConfigOf(server), cipher.Keys{})
	shown := earlierUntil(term, m).Add(5*time.Second + earlierDoubtGrace)
	submit := func(now time.Time) outcome {
		t.Helper()
		s := newScope(m, term, now)
		r.readProgress(s)
		s.server, s.session, s.payload = server, session, delivery.Payload{Data: []byte("hello")}
		out, err := r.submit(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for range 2 {
		if out := submit(shown.Add(-time.Millisecond)); out != submitted {
			t.Errorf("at first: %+v", out)
		}
	}
	q := priorityqueue.New[reconcile.Request]("test")
	defer q.ShutDown()
	if err := r.Wake.Start(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if woken, _ := q.Get(); woken.NamespacedName != client.ObjectKeyFromObject(m) {
		t.Errorf("%v is woken", woken)
	}
	if out := submit(shown); out != done {
		t.Errorf("still in doubt: %+v", out)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := r.Engine.Drain(ended, time.Minute); err == nil {
		t.Error("drained before the doubt is recorded")
	}
	if err := errors.Join(r.Engine.Start(ended), sessions.Start(ended)); err != nil { // until all has stopped
		t.Error(err)
	}
	if out := submit(term.Local); out != done {
		t.Errorf("while it drains: %+v", out)
	}
}
