// SPDX-License-Identifier: Apache-2.0

package readreceipt

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// waitingMessage is the i-th of many messages, with a name and a UID as long as usual.
func waitingMessage(i int) Message {
	uid := types.UID(fmt.Sprintf("3f2504e0-4f89-11d3-9a0c-%012d", i))
	return Message{types.NamespacedName{Namespace: "team-platform", Name: fmt.Sprintf("disk-full-on-db-%06d-x7k2p", i)}, uid}
}

// TestMemory: what may be tracked takes no more memory than the limits say.
func TestMemory(t *testing.T) {
	const users = 1000
	keep := func(tracker *Tracker, i int) {
		s := user(uint32(1+i%users), uint32(1+i)).sent()
		tracker.Keep(waitingMessage(i), chat, sender, []Recorded{{Sent: s}})
	}
	for name, tc := range map[string]struct {
		n      int
		track  func(tracker *Tracker, i int)
		wantMB float64
	}{
		// The bar of the bench, which also counts what the queues take: docs/explanation/benchmarks.md.
		"10,000 messages that wait to be read": {10_000, keep, 10},
		"without a readPolicy": {maxTracked, func(tracker *Tracker, i int) {
			m, to := waitingMessage(i), user(uint32(1+i%users), uint32(1+i))
			tracker.Observe(delivery.StepEvent{
				Message: m.Key, UID: m.UID, Server: chat, Sender: sender, Step: delivery.StepSend,
				Began: time.Now(), Ended: time.Now(), After: to.progress(v1alpha1.StateAcknowledged),
			})
		}, 20},
		"with a readPolicy": {maxKept, keep, 150},
	} {
		t.Run(name, func(t *testing.T) {
			tracker, before := NewTracker(), heapMB()
			for i := range tc.n {
				tc.track(tracker, i)
			}
			got := heapMB() - before
			if tracker.tracked != tc.n {
				t.Fatalf("%d are tracked", tracker.tracked)
			}
			if t.Logf("%d take %.1f MB", tc.n, got); got > tc.wantMB || got < tc.wantMB/4 {
				t.Errorf("%d take %.1f MB, want about %.0f", tc.n, got, tc.wantMB)
			}
		})
	}
}

// heapMB returns how much of the heap is in use, in 10^6 bytes.
func heapMB() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / 1e6
}
