// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
	"github.com/teamtalk-io/teamtalk-operator/test/fakechat"
)

const (
	bot, alice, bob = 1, 3, 4
	settle, lag     = 5, 4 // seconds
	settled         = (settle + lag) * time.Second
)

// world is a group of a test, with the TeamTalk and the API that the test controls, in a bubble with its own time.
type world struct {
	*testing.T
	api      client.WithWatch
	talk     *fakechat.TeamTalk
	key      types.NamespacedName
	operator *Reconciler
	claims   *claims
	// refuse, if set, returns the error of the API server to a status.
	refuse func(*v1alpha1.TeamTalkGroup) error
	// begun is when the term began.
	begun time.Time
}

// claims are those of a test.
type claims struct {
	lost    bool
	refused *v1alpha1.Cause
}

func (c *claims) TermOf(_ types.NamespacedName, own leadership.Term) (leadership.Term, bool) {
	return own, !c.lost
}
func (c *claims) Holds(types.NamespacedName, types.UID) bool   { return !c.lost }
func (c *claims) Refused(types.NamespacedName) *v1alpha1.Cause { return c.refused }

// run runs a test with a group of Alice that nobody has reconciled.
func run(t *testing.T, test func(*world), edits ...func(*v1alpha1.TeamTalkGroup)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		scheme := runtime.NewScheme()
		if err := v1alpha1.AddToScheme(scheme); err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, talk: fakechat.New(bot, alice, bob), key: types.NamespacedName{Namespace: "team", Name: "oncall"}, claims: &claims{}}
		server := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "default", UID: "s1"}}
		server.Spec.Senders.Default = bot
		server.Spec.SettleSeconds, server.Spec.MaxReplicaLagSeconds = settle, new(int32(lag))
		server.Spec.Groups.Adoptable = []v1alpha1.GroupID{7}
		w.api = fake.NewClientBuilder().WithScheme(scheme).WithObjects(server, w.group(edits...)).
			WithStatusSubresource(&v1alpha1.TeamTalkGroup{}).
			WithIndex(&v1alpha1.TeamTalkGroup{}, groupIndex, indexByGroup).
			WithIndex(&v1alpha1.TeamTalkGroup{}, serverIndex, indexByServer).
			WithInterceptorFuncs(interceptor.Funcs{SubResourcePatch: func(
				ctx context.Context, c client.Client, _ string, o client.Object, patch client.Patch, opts ...client.SubResourcePatchOption,
			) error {
				if g, ok := o.(*v1alpha1.TeamTalkGroup); ok && w.refuse != nil {
					if err := w.refuse(g); err != nil {
						return err
					}
				}
				return c.Status().Patch(ctx, o, patch, opts...)
			}}).Build()
		w.restart()
		test(w)
	})
}

func (w *world) group(edits ...func(*v1alpha1.TeamTalkGroup)) *v1alpha1.TeamTalkGroup {
	g := &v1alpha1.TeamTalkGroup{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.key.Namespace, Name: w.key.Name, UID: "u1", Generation: 1, CreationTimestamp: metav1.Now(),
	}}
	g.Spec.DisplayName, g.Spec.Members.Users = "On call", []v1alpha1.UserID{alice}
	for _, edit := range edits {
		edit(g)
	}
	return g
}

func adopted(g *v1alpha1.TeamTalkGroup) {
	g.Spec.DisplayName, g.Spec.GroupID = "", new(v1alpha1.GroupID(7))
}

// restart starts an operator that remembers nothing.
func (w *world) restart() {
	w.begun = time.Now()
	term := leadership.Term{Local: w.begun, Start: metav1.Now()}
	w.operator = &Reconciler{
		Client: w.api, Engine: delivery.NewEngine(func(types.NamespacedName) {}), Claims: w.claims,
		Recorder: events.NewFakeRecorder(1000),
		Term:     func(context.Context) (leadership.Term, error) { return term, nil },
		Session:  func(types.NamespacedName) (Session, bool) { return w.talk, true },
	}
}

// reconcile reconciles once, and returns when it is to be done again.
func (w *world) reconcile() time.Duration {
	w.Helper()
	result, err := w.operator.Reconcile(w.Context(), reconcile.Request{NamespacedName: w.key})
	if err != nil {
		w.Fatal(err)
	}
	return result.RequeueAfter
}

// within reconciles as often as asked for, for a time.
func (w *world) within(d time.Duration) {
	w.Helper()
	for end := time.Now().Add(d); ; {
		after := w.reconcile()
		if after == 0 || time.Now().Add(after).After(end) {
			<-time.After(time.Until(end))
			return
		}
		<-time.After(after)
	}
}

func (w *world) get() *v1alpha1.TeamTalkGroup {
	w.Helper()
	g := &v1alpha1.TeamTalkGroup{}
	if err := w.api.Get(w.Context(), w.key, g); err != nil {
		w.Fatal(err)
	}
	return g
}

func (w *world) edit(edit func(*v1alpha1.TeamTalkGroup)) {
	w.Helper()
	g := w.get()
	edit(g)
	g.Generation++
	if err := w.api.Update(w.Context(), g); err != nil {
		w.Fatal(err)
	}
}

func users(ids ...v1alpha1.UserID) func(*v1alpha1.TeamTalkGroup) {
	return func(g *v1alpha1.TeamTalkGroup) { g.Spec.Members.Users = ids }
}

// wantReady checks the reason of Ready, a part of its message, and the condition beside it; "": none.
func (w *world) wantReady(reason, part, beside string) {
	w.Helper()
	g := w.get()
	ready := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != reason || !strings.Contains(ready.Message, part) || (ready.Status == metav1.ConditionTrue) != (beside == "") {
		w.Errorf("Ready is %+v, want %s %q", ready, reason, part)
	}
	for _, c := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if meta.IsStatusConditionTrue(g.Status.Conditions, c) != (c == beside) {
			w.Errorf("%s is %v, want beside Ready: %q", c, c != beside, beside)
		}
	}
	if g.Status.ObservedGeneration != g.Generation {
		w.Errorf("generation %d was observed, want %d", g.Status.ObservedGeneration, g.Generation)
	}
}

// wantMembers checks the members of the group that the status names, and that there is no other.
func (w *world) wantMembers(ids ...uint32) {
	w.Helper()
	g := w.get()
	if g.Status.GroupID == nil || len(w.talk.Groups) != 1 {
		w.Fatalf("status %+v, and %d groups", g.Status, len(w.talk.Groups))
	}
	if got := w.talk.Members(uint32(*g.Status.GroupID)); !slices.Equal(got, ids) {
		w.Errorf("members %v, want %v", got, ids)
	}
}

func requestOf(w *world) reconcile.Request { return reconcile.Request{NamespacedName: w.key} }

var errRefused = errors.New("refused by the test")
