// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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
