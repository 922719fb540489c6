// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestDeletedUnrecorded: the sends of a message that is deleted are reported, also those of an earlier operator. What
// was not sent is not.
func TestDeletedUnrecorded(t *testing.T) {
	type scenario struct {
		talk func(*talk)
		edit func(*Task)
		// stored: the store has it before.
		stored bool
		want   []v1alpha1.RecipientState
	}
	runEach(t, map[string]scenario{
		"sent":          {talk: func(f *talk) { f.replies = always(lostAfter) }, want: []v1alpha1.RecipientState{v1alpha1.StateInDoubt}},
		"not connected": {talk: disconnected},
		"of an earlier operator, in doubt": {
			talk: unreadable("list"), edit: takenOver, want: []v1alpha1.RecipientState{v1alpha1.StateInDoubt},
		},
		"of an earlier operator, found": {
			talk: noRouter, edit: takenOver, stored: true, want: []v1alpha1.RecipientState{v1alpha1.StateStored},
		},
		"of an earlier operator, absent": {talk: rejecting, edit: func(spec *Task) {
			takenOver(spec)
			spec.Policy.NotBefore = time.Now().Add(time.Hour)
		}},
		"its key is searched for": {talk: unreadable("list"), edit: func(spec *Task) { spec.Identity = Identity{Namespace: "chat", Key: "k"} }},
	}, func(h *harness, tc scenario) {
		var got []v1alpha1.RecipientState
		h.Deleted = func(_ types.NamespacedName, _ types.UID, s Snapshot) {
			for _, p := range s.Recipients {
				got = append(got, p.State)
			}
		}
		spec := h.task("m", toAlice)
		if tc.edit != nil {
			tc.edit(&spec)
		}
		if tc.stored {
			h.store(spec)
		}
		h.talk.change(func() { tc.talk(h.talk) })
		if tc.want != nil && tc.edit == nil {
			h.talk.fails = failing("list") // so that it stays in doubt
		}
		h.submit(spec)
		advance(time.Minute)
		h.Forget("m")
		advance(time.Minute)
		if len(got) != len(tc.want) || len(got) > 0 && got[0] != tc.want[0] {
			h.t.Errorf("reported %v, want %v", got, tc.want)
		}
	})
}
