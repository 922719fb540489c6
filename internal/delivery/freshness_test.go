// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestAllReplicasStopped: rows that were acknowledged after an attempt show that reads are old, although none of them
// was ever shown. Only the message that was acknowledged last has none.
func TestAllReplicasStopped(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.deliverAll(toBob, "b")
		h.deliverAll(toGroup, "g")
		h.talk.replies = []reply{3: lostAfter, 4: plain, 5: plain}
		h.talk.change(h.talk.stopReplica)
		began := map[types.UID]v1alpha1.Recipient{"lost": toAlice, "acknowledged": toBob, "last": toGroup}
		for _, uid := range []types.UID{"lost", "acknowledged", "last"} {
			h.submit(h.task(string(uid), began[uid]))
			advance(time.Second)
		}
		advance(5 * time.Minute)
		for _, uid := range []types.UID{"lost", "acknowledged"} {
			if p := h.first(uid); p.State != v1alpha1.StateInDoubt || p.Message != whyStale || p.Attempts != 1 {
				t.Errorf("%s: %s %s (%s) after %d attempts", uid, p.State, p.Reason, p.Message, p.Attempts)
			}
		}
		h.talk.change(func() { h.talk.replica = nil })
		for _, uid := range []types.UID{"lost", "acknowledged"} {
			if p := h.await(uid, 5*time.Minute).Recipients[0]; p.State != v1alpha1.StateRouted || p.Attempts != 1 {
				t.Errorf("%s: %s %s after %d attempts", uid, p.State, p.Reason, p.Attempts)
			}
		}
	})
}

// TestLaterRowIsYoung: a replica that has stopped is noticed by a row that was stored less than the replica lag ago.
func TestLaterRowIsYoung(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.talk.replies = []reply{1: {store: true, err: lostAfter.err}}
		h.talk.change(func() { h.talk.stopReplica(); h.talk.replica.fails = failing("list") })
		h.submit(h.task("m", toAlice))
		advance(time.Minute)
		replica := h.talk.replica
		h.talk.change(func() { h.talk.replica = nil })
		h.deliverAll(toBob, "later")
		h.talk.change(func() { h.talk.replica, replica.fails = replica, nil })
		advance(5 * time.Minute)
		if p := h.first("m"); p.State != v1alpha1.StateInDoubt || p.Message != whyStale {
			t.Errorf("%s %s (%s)", p.State, p.Reason, p.Message)
		}
	})
}

// TestStoreKeepsNothing: where db_proxy acknowledges messages and keeps none of them, each is sent again and arrives
// once as soon as rows are kept again.
func TestStoreKeepsNothing(t *testing.T) {
	run(t, func(h *harness) {
		h.deliverAll(toAlice, "a")
		h.talk.replies = []reply{1: falseSuccess, 2: falseSuccess, 3: falseSuccess, 4: falseSuccess}
		to := map[string]v1alpha1.Recipient{"x": toAlice, "y": toBob, "z": toGroup}
		for _, uid := range []string{"x", "y", "z"} {
			h.submit(h.task(uid, to[uid]))
			advance(time.Second)
		}
		for uid := range to {
			wantProgress(t, h.await(types.UID(uid), 5*time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		}
		h.wantRows(4)
	})
}
