// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

func TestIsStale(t *testing.T) {
	if err := v1alpha1.AddToScheme(scheme.Scheme); err != nil {
		t.Fatal(err)
	}
	at := func(version string) client.WithWatch {
		b := fake.NewClientBuilder().WithScheme(scheme.Scheme)
		if version != "" {
			b.WithObjects(&v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "m", ResourceVersion: version}})
		}
		return b.Build()
	}
	cases := map[string]struct {
		// store is how new the cache is, cached and live the message there; "": not there.
		store, cached, live string
		want                bool
	}{
		"cache older than the term, message the same":  {"99", "7", "7", false},
		"cache older than the term, message is not":    {"99", "7", "100", true},
		"cache older than the term, message is gone":   {"99", "7", "", true},
		"cache as new as the term":                     {"100", "7", "never asked", false},
		"cache newer, and has more digits":             {"1000", "7", "never asked", false},
		"cache newer, message at hand is not":          {"101", "8", "never asked", true},
		"cache newer, message at hand is gone":         {"101", "", "", true},
		"cache newer, message is marked as settled":    {"101", "", "7", false},
		"cache that does not know, message the same":   {"", "7", "7", false},
		"cache that does not know, message is not new": {"", "7", "9", true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			store := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
			store.Bookmark(tc.store)
			r := &Reconciler{Client: at(tc.cached), store: store}
			if tc.live != "never asked" {
				r.Live = at(tc.live)
			}
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
				Namespace: "n", Name: "m", ResourceVersion: "7", UID: types.UID("u"),
			}}
			got, err := r.isStale(t.Context(), &scope{message: m, term: leadership.Term{Version: "100"}})
			if err != nil || got != tc.want {
				t.Errorf("%v %v, want %v", got, err, tc.want)
			}
		})
	}
	t.Run("older than what this process has written", func(t *testing.T) {
		for version, want := range map[string]bool{"9": true, "10": false, "11": false} {
			m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
				Namespace: "n", Name: "m", ResourceVersion: version, UID: "u", CreationTimestamp: metav1.Now(),
			}}
			r := &Reconciler{}
			r.written.Store(types.NamespacedName{Namespace: "n", Name: "m"}, writtenVersion{"u", "10"})
			if got, err := r.isStale(t.Context(), &scope{message: m}); err != nil || got != want {
				t.Errorf("version %s: %v %v, want %v", version, got, err, want)
			}
			m.UID = "of another object"
			if got, err := r.isStale(t.Context(), &scope{message: m}); err != nil || got {
				t.Errorf("another object: %v %v", got, err)
			}
		}
	})
	if reached(toolscache.NewStore(toolscache.MetaNamespaceKeyFunc), "") {
		t.Error("a term without a version is reached")
	}
}
