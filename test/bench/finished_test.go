// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
	"github.com/teamtalk-io/teamtalk-operator/internal/leadership"
)

// TestCopyOf checks that a copy is what the operator would have written for another message.
func TestCopyOf(t *testing.T) {
	text := "Good morning"
	original := message("bench", "pattern", text, 3)
	original.APIVersion, original.Kind, original.UID = "teamtalk.io/v1alpha1", "TeamTalkMessage", "u"
	original.CreationTimestamp = metav1.NewTime(time.Unix(1795409000, 0))
	original.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionFinished, Status: "True", Reason: "Delivered"}}
	original.Status.Recipients = []v1alpha1.RecipientStatus{{Type: "User", ID: 3, State: v1alpha1.StateRouted, MessageIDs: []int64{18}}}
	stored, err := json.Marshal(original)
	noError(t, err)
	c := copies{batch: batch{namespace: "other", prefix: "finished", n: 9, users: []uint32{8, 9}}, ttlSeconds: ptr.To[int32](60)}
	b, err := c.copyOf(stored, 7)
	noError(t, err)
	got := &v1alpha1.TeamTalkMessage{}
	noError(t, json.Unmarshal(b, got))
	switch r := got.Status.Recipients[0]; {
	case got.Name != "finished-7" || got.UID == "u" || got.UID == "" || got.Namespace != "other" || got.Kind != original.Kind:
		t.Errorf("identity: %+v", got.ObjectMeta)
	case *got.Spec.Content.Text != c.text(7) || !ptr.Equal(got.Spec.TTLSecondsAfterFinished, c.ttlSeconds) || len(got.Spec.To.Users) != 1 || got.Spec.To.Users[0] != 9:
		t.Errorf("spec: %+v", got.Spec)
	case r.ID != 9 || r.State != v1alpha1.StateRouted || r.MessageIDs[0] != 18 || !got.Finished():
		t.Errorf("status: %+v", got.Status)
	case !got.CreationTimestamp.Equal(&original.CreationTimestamp):
		t.Errorf("created %v", got.CreationTimestamp)
	}
	if _, err := c.copyOf([]byte(`{"status":{}}`), 7); err == nil {
		t.Error("a message without recipients is copied")
	}
}

func TestSweepIn(t *testing.T) {
	const line = "2026-01-02T03:04:05Z\tINFO\tsettled\tlisted the settled messages\t"
	for name, test := range map[string]struct {
		log    string
		want   sweep
		wantOK bool
	}{
		"not yet":      {"2026-01-02T03:04:05Z\tINFO\tstarts\n", sweep{}, false},
		"another":      {strings.Replace(line, "settled messages", "unsettled messages", 1) + "{}\n", sweep{}, false},
		"half a line":  {line + `{"messages": 3`, sweep{}, false},
		"a whole line": {line + `{"messages": 3, "enqueued": 1, "seconds": 0.5}` + "\n", sweep{3, 0.5}, true},
		"lines after":  {line + `{"messages": 3, "enqueued": 1, "seconds": 0.5}` + "\nx\n", sweep{3, 0.5}, true},
	} {
		if got, ok := sweepIn(test.log, "settled messages"); got != test.want || ok != test.wantOK {
			t.Errorf("%s: got %+v, %t", name, got, ok)
		}
	}
}

func TestBegins(t *testing.T) {
	lease := func(name, holder string, drained bool) *coordinationv1.Lease {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}
		l.Spec.HolderIdentity = ptr.To(holder)
		if drained {
			l.Annotations = map[string]string{leadership.DrainedAnnotation: "then"}
		}
		return l
	}
	for name, test := range map[string]struct {
		lease *coordinationv1.Lease
		want  bool
	}{
		"another holder":       {lease(process.Name, "b", false), true},
		"the same":             {lease(process.Name, "a", false), false},
		"no holder":            {lease(process.Name, "", false), false},
		"the mark still on it": {lease(process.Name, "b", true), false},
		"another Lease":        {lease("x", "b", false), false},
	} {
		if got := begins(test.lease, "a"); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestBurstTexts(t *testing.T) {
	b := batch{prefix: "x", n: 4, users: []uint32{10, 11}}
	s := &burst{batch: b, created: map[string]time.Time{b.name(0): {}, b.name(3): {}}}
	if first, second := s.textsOf(0), s.textsOf(1); len(first) != 1 || first[0] != b.text(0) || len(second) != 1 || second[0] != b.text(3) {
		t.Errorf("got %q and %q", first, second)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
