// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// TestServerSeen: a message that is reconciled before the event of its server has come
// waits for it: others that have waited for the server may be older.
func TestServerSeen(t *testing.T) {
	server := func(uid types.UID, generation int64) *v1alpha1.TeamTalkServer {
		return &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{
			Namespace: "chat", Name: "default", UID: uid, Generation: generation,
		}}
	}
	tests := map[string]struct {
		seen, cached *v1alpha1.TeamTalkServer
		known        bool
		want         bool
	}{
		"not yet":                  {cached: server("a", 1)},
		"seen":                     {seen: server("a", 1), cached: server("a", 1), want: true},
		"a later edit":             {seen: server("a", 2), cached: server("a", 1), want: true},
		"before an edit":           {seen: server("a", 1), cached: server("a", 2)},
		"the one before":           {seen: server("a", 5), cached: server("b", 1)},
		"not, but it is under way": {cached: server("a", 1), known: true, want: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := &Reconciler{}
			if tc.seen != nil {
				r.serverSeen.add(tc.seen)
			}
			s := &scope{server: tc.cached}
			if tc.known {
				s.snapshot = &delivery.Snapshot{}
			}
			want := proceed
			if !tc.want {
				want = requeue(cacheLag)
			}
			if got := r.awaitServerEvent(s); got != want {
				t.Errorf("outcome %+v, want %+v", got, want)
			}
		})
	}
}

// TestConnectionLost: the loss of the last connection wakes the messages that wait for their turn, as their status is to
// say so. Its return does not: the session wakes them.
func TestConnectionLost(t *testing.T) {
	server := func(status metav1.ConditionStatus) *v1alpha1.TeamTalkServer {
		s := &v1alpha1.TeamTalkServer{}
		meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionDBProxyConnected, Status: status, Reason: "Any",
		})
		return s
	}
	up, down := server(metav1.ConditionTrue), server(metav1.ConditionFalse)
	for name, tc := range map[string]struct {
		before, after *v1alpha1.TeamTalkServer
		want          bool
	}{
		"lost":         {up, down, true},
		"back":         {down, up, false},
		"still up":     {up, up, false},
		"still absent": {down, down, false},
	} {
		if got := serverMatters.Update(event.UpdateEvent{ObjectOld: tc.before, ObjectNew: tc.after}); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
