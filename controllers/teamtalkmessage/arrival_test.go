package teamtalkmessage

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// TestAnnounced: a message that is looked at before the event of its server has come
// waits for it: others that waited for the server may be older.
func TestAnnounced(t *testing.T) {
	server := func(uid types.UID, generation int64) *v1alpha1.TeamTalkServer {
		return &v1alpha1.TeamTalkServer{ObjectMeta: metav1.ObjectMeta{Namespace: "chat", Name: "default", UID: uid, Generation: generation}}
	}
	tests := map[string]struct {
		heard, seen *v1alpha1.TeamTalkServer
		known       bool
		want        bool
	}{
		"not yet":                  {seen: server("a", 1)},
		"heard":                    {heard: server("a", 1), seen: server("a", 1), want: true},
		"of an edit":               {heard: server("a", 2), seen: server("a", 1), want: true},
		"not of an edit":           {heard: server("a", 1), seen: server("a", 2)},
		"of the one before":        {heard: server("a", 5), seen: server("b", 1)},
		"not, but it is under way": {seen: server("a", 1), known: true, want: true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := &Reconciler{Arrivals: delivery.NewArrivals(func(types.NamespacedName) {})}
			if tc.heard != nil {
				r.announced.heard(tc.heard)
			}
			s := &scope{message: &v1alpha1.TeamTalkMessage{}, server: tc.seen}
			if tc.known {
				s.snapshot = &delivery.Snapshot{}
			}
			want := proceed
			if !tc.want {
				want = requeue(eventLag)
			}
			if got, err := r.takeTurn(t.Context(), s); err != nil || got != want {
				t.Errorf("outcome %+v %v, want %+v", got, err, want)
			}
		})
	}
}
