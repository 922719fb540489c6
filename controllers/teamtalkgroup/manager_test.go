// SPDX-License-Identifier: Apache-2.0

package teamtalkgroup

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/fakechat"
)

var olderKey = types.NamespacedName{Namespace: "team", Name: "older"}

// older creates a resource that is older than the one of the test, and wants the same group.
func (w *world) older(edits ...func(*v1alpha1.TeamTalkGroup)) *v1alpha1.TeamTalkGroup {
	w.Helper()
	o := w.group(append([]func(*v1alpha1.TeamTalkGroup){adopted, users(bob)}, edits...)...)
	o.Name, o.UID, o.CreationTimestamp = olderKey.Name, "u0", metav1.NewTime(time.Now().Add(-time.Hour))
	w.create(o)
	return o
}

func (w *world) create(o client.Object) {
	w.Helper()
	if err := w.api.Create(w.Context(), o); err != nil {
		w.Fatal(err)
	}
}

// of is the world with another resource.
func (w *world) of(key types.NamespacedName) *world {
	other := *w
	other.key = key
	return &other
}

// TestManager: of the resources that want a group, the first one that may manage it does.
func TestManager(t *testing.T) {
	inNamespace := func(g *v1alpha1.TeamTalkGroup) {
		g.Namespace, g.Spec.ServerRef = "else", &v1alpha1.ServerReference{Name: "default", Namespace: "team"}
	}
	tests := map[string]struct {
		// older makes the older resource, and what it needs. It has been reconciled before the newer one, for so long.
		older  func(*world)
		within time.Duration
		// manages: it is the manager.
		manages bool
	}{
		"an older one": {older: func(w *world) { w.older() }, manages: true},
		"one that is being deleted": {older: func(w *world) {
			o := w.older(func(g *v1alpha1.TeamTalkGroup) { g.Finalizers = []string{"example.com/kept"} })
			if err := w.api.Delete(w.Context(), o); err != nil {
				w.Fatal(err)
			}
		}},
		"one of a namespace that the server does not admit": {older: func(w *world) {
			w.older(inNamespace)
		}},
		"one whose server does not list the group": {older: func(w *world) {
			server := &v1alpha1.TeamTalkServer{}
			if err := w.api.Get(w.Context(), types.NamespacedName{Namespace: "team", Name: "default"}, server); err != nil {
				w.Fatal(err)
			}
			strict := &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "strict", UID: "s2"}, Spec: server.Spec}
			strict.Spec.Groups.Adoptable = nil
			w.create(strict)
			w.older(func(g *v1alpha1.TeamTalkGroup) { g.Spec.ServerRef = &v1alpha1.ServerReference{Name: "strict"} })
		}},
		"one that is refused": {
			older: func(w *world) { w.older(users(bob, 99)) }, within: settled + time.Second,
		},
		"one that may be refused": {older: func(w *world) { w.older(users(bob, 99)) }, manages: true, within: time.Second},
		"one that was edited after it was refused": {older: func(w *world) {
			w.older(users(bob, 99))
			w.of(olderKey).within(settled + time.Second)
			w.of(olderKey).edit(users(bob))
		}, manages: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.talk.Groups[7] = &fakechat.Group{Members: []uint32{9}}
				tc.older(w)
				if tc.within > 0 {
					w.of(olderKey).within(tc.within)
				}
				w.reconcile()
				if tc.manages {
					w.wantReady(v1alpha1.ReasonGroupNotAdoptable, `is managed by TeamTalkGroup "older"`, stalled)
				} else {
					w.wantReady(v1alpha1.ReasonReady, "", "")
					w.wantMembers(bot, alice, 9)
				}
			}, adopted)
		})
	}
}

// TestManagerChanges: an older resource that may manage a group again takes over. Those that wait for one that is refused
// for the same reason do not count as refused.
func TestManagerChanges(t *testing.T) {
	run(t, func(w *world) {
		w.talk.Groups[7] = &fakechat.Group{Members: []uint32{9}}
		w.older(users(bob, 99))
		w.of(olderKey).within(settled + time.Second)
		w.reconcile()
		w.wantReady(v1alpha1.ReasonReady, "", "")
		newest := w.group(adopted, users(bob))
		newest.Name, newest.UID, newest.CreationTimestamp = "newest", "u2", metav1.NewTime(time.Now().Add(time.Hour))
		w.create(newest)
		third := w.of(client.ObjectKeyFromObject(newest))
		third.reconcile()
		third.wantReady(v1alpha1.ReasonGroupNotAdoptable, `"oncall"`, stalled)

		w.of(olderKey).edit(users(bob))
		w.of(olderKey).reconcile()
		w.of(olderKey).wantReady(v1alpha1.ReasonReady, "", "")
		w.reconcile()
		w.wantReady(v1alpha1.ReasonGroupNotAdoptable, `"older"`, stalled)
		third.reconcile()
		third.wantReady(v1alpha1.ReasonGroupNotAdoptable, `"o`, stalled)
		if err := w.api.Delete(w.Context(), w.of(olderKey).get()); err != nil {
			w.Fatal(err)
		}
		third.reconcile()
		third.wantReady(v1alpha1.ReasonGroupNotAdoptable, `"oncall"`, stalled)
	}, adopted)
}

// TestManagersDoNotOverlap: while a resource changes a group, no other one does, whatever becomes of the first.
func TestManagersDoNotOverlap(t *testing.T) {
	run(t, func(w *world) {
		w.talk.Groups[7] = &fakechat.Group{Members: []uint32{9}}
		o := w.older(func(g *v1alpha1.TeamTalkGroup) { g.Finalizers = []string{"example.com/kept"} })
		w.talk.OnChange = func() {
			w.talk.OnChange = nil
			if err := w.api.Delete(w.Context(), o); err != nil {
				w.Error(err)
			}
			if after := w.reconcile(); after != lockedInterval || len(w.talk.Changes) != 1 {
				w.Errorf("looked at again after %v, changes %+v", after, w.talk.Changes)
			}
		}
		_, _ = w.operator.Reconcile(w.Context(), requestOf(w.of(olderKey)))
		w.reconcile()
		w.wantReady(v1alpha1.ReasonReady, "", "")
		w.wantMembers(bot, alice, bob, 9)
	}, adopted)
}
