// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// notes is an Observer that keeps the events.
type notes struct {
	mu    sync.Mutex
	taken []StepEvent
}

func (n *notes) Observe(t StepEvent) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.taken = append(n.taken, t)
}

func (n *notes) steps() []string {
	var steps []string
	for _, t := range n.taken {
		steps = append(steps, t.Step.String())
	}
	return steps
}

// summary counts what the steps say of themselves.
type summary struct {
	retries                        []string
	adopted, drops, stored, routed int
	doubts                         []DoubtEnd
}

func (n *notes) summarize() summary {
	var s summary
	for _, t := range n.taken {
		if r := t.Retry(); r != "" {
			s.retries = append(s.retries, r)
		}
		if t.Adopted() {
			s.adopted++
		}
		if t.SilentDrop() {
			s.drops++
		}
		if d, ok := t.Stored(); ok && d >= 0 {
			s.stored++
		}
		if d, ok := t.Routed(); ok && d >= 0 {
			s.routed++
		}
		if d, end, ok := t.Settled(); ok && d >= 0 {
			s.doubts = append(s.doubts, end)
		}
	}
	return s
}

func TestObserver(t *testing.T) {
	type scenario struct {
		talk func(*talk)
		spec func(*Task)
		// wantSteps, where the number of searches is not left to chance.
		wantSteps []string
		want      summary
	}
	plainSteps := []string{"preflight", "send", "read_back", "route"}
	foundOnce := summary{adopted: 1, stored: 1, routed: 1, doubts: []DoubtEnd{DoubtFound}}
	notStored := []string{v1alpha1.ReasonNotStored}
	runEach(t, map[string]scenario{
		"a plain delivery": {wantSteps: plainSteps, want: summary{stored: 1, routed: 1}},
		"rejected once": {
			talk: replying(rejected), wantSteps: append([]string{"preflight", "send"}, plainSteps...),
			want: summary{retries: []string{v1alpha1.ReasonStoreRejected}, stored: 1, routed: 1},
		},
		"dropped in silence": {
			talk: replying(falseSuccess),
			want: summary{retries: notStored, drops: 1, stored: 1, routed: 1, doubts: []DoubtEnd{DoubtAbsent}},
		},
		"dropped until retries are used up": {
			talk: replying(falseSuccess, falseSuccess), spec: func(s *Task) { s.Policy.RetryLimit = 1 },
			want: summary{retries: notStored, drops: 2, doubts: []DoubtEnd{DoubtAbsent, DoubtAbsent}},
		},
		"an answer is lost": {talk: replying(lostAfter), want: foundOnce},
		"the counter fails, and the store keeps it": {
			talk: replying(reply{store: true, id: counterFailed.id}), want: foundOnce,
		},
		"a key that nobody has used": {
			spec: func(s *Task) {
				s.Identity, s.EarlierUntil = Identity{Namespace: "chat", Key: "k"}, time.Now().Add(-time.Hour)
			},
			want: summary{stored: 1, routed: 1},
		},
		"the deadline comes in doubt": {
			talk: all(replying(lostBefore), downAt("list")),
			spec: func(s *Task) { s.Policy.Deadline = time.Now().Add(time.Minute) },
			want: summary{doubts: []DoubtEnd{DoubtUnknown}},
		},
	}, func(h *harness, tc scenario) {
		n := &notes{}
		h.Observer = n
		spec := h.task("m", toAlice)
		if tc.talk != nil {
			tc.talk(h.talk)
		}
		if tc.spec != nil {
			tc.spec(&spec)
		}
		h.submit(spec)
		h.await("m", 2*time.Hour)
		if tc.wantSteps != nil && !slices.Equal(n.steps(), tc.wantSteps) {
			h.t.Errorf("steps %v, want %v", n.steps(), tc.wantSteps)
		}
		if got := n.summarize(); !reflect.DeepEqual(got, tc.want) {
			h.t.Errorf("got %+v, want %+v; steps %v", got, tc.want, n.steps())
		}
	})
}

func TestLoad(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{lostBefore}
		for _, uid := range []string{"a", "b", "c"} {
			h.submit(h.task(uid, toAlice))
		}
		// The first is being sent, the others wait for the conversation.
		l := h.Load()
		if l.Recipients[v1alpha1.StatePending] != 3 || l.Conversations != 1 || l.Waiting != 2 {
			t.Errorf("got %+v, want 3 pending, 1 conversation, 2 waiting", l)
		}
		advance(clientTimeout + time.Millisecond)
		if l = h.Load(); l.Recipients[v1alpha1.StateInDoubt] != 1 {
			t.Errorf("got %+v, want one in doubt", l)
		}
		for _, uid := range []types.UID{"a", "b", "c"} {
			h.await(uid, time.Hour)
		}
		if l = h.Load(); len(l.Recipients) != 0 || l.Conversations != 0 || l.Waiting != 0 {
			t.Errorf("got %+v at the end, want nothing", l)
		}
	})
}
