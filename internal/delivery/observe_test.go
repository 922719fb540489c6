// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// notes is an Observer that keeps what it is told.
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
	plainSteps := []string{"preflight", "send", "read_back", "route"}
	tests := map[string]struct {
		prepare func(*harness, *Task)
		// wantSteps, where the number of questions is no matter of chance.
		wantSteps []string
		want      summary
	}{
		"a plain delivery": {wantSteps: plainSteps, want: summary{stored: 1, routed: 1}},
		"rejected once": {
			prepare:   func(h *harness, _ *Task) { h.talk.replies = []reply{rejected} },
			wantSteps: append([]string{"preflight", "send"}, plainSteps...),
			want:      summary{retries: []string{v1alpha1.ReasonStoreRejected}, stored: 1, routed: 1},
		},
		"dropped in silence": {
			prepare: func(h *harness, _ *Task) { h.talk.replies = []reply{falseSuccess} },
			want: summary{
				retries: []string{v1alpha1.ReasonNotStored}, drops: 1, stored: 1, routed: 1, doubts: []DoubtEnd{DoubtAbsent},
			},
		},
		"dropped until retries are used up": {
			prepare: func(h *harness, spec *Task) {
				h.talk.replies = slices.Repeat([]reply{falseSuccess}, 2)
				spec.Policy.RetryLimit = 1
			},
			want: summary{
				retries: []string{v1alpha1.ReasonNotStored}, drops: 2, doubts: []DoubtEnd{DoubtAbsent, DoubtAbsent},
			},
		},
		"an answer is lost": {
			prepare: func(h *harness, _ *Task) { h.talk.replies = []reply{lostAfter} },
			want:    summary{adopted: 1, stored: 1, routed: 1, doubts: []DoubtEnd{DoubtFound}},
		},
		"the counter fails, and the store keeps it": {
			prepare: func(h *harness, _ *Task) {
				h.talk.replies = []reply{{store: true, id: proto.Uint32(wire.MsgIDUnknown)}}
			},
			want: summary{adopted: 1, stored: 1, routed: 1, doubts: []DoubtEnd{DoubtFound}},
		},
		"a key that nobody has used": {
			prepare: func(_ *harness, spec *Task) {
				spec.Identity = Identity{Namespace: "chat", Key: "k"}
				spec.EarlierUntil = time.Now().Add(-time.Hour)
			},
			want: summary{stored: 1, routed: 1},
		},
		"the deadline comes in doubt": {
			prepare: func(h *harness, spec *Task) {
				h.talk.replies = []reply{lostBefore}
				h.talk.fails = func(read string) error {
					if read == "list" {
						return errNotSent
					}
					return nil
				}
				spec.Policy.Deadline = time.Now().Add(time.Minute)
			},
			want: summary{doubts: []DoubtEnd{DoubtUnknown}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				n := &notes{}
				h.Observer = n
				spec := h.task("m", v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: alice})
				if tc.prepare != nil {
					tc.prepare(h, &spec)
				}
				h.submit(spec)
				h.await("m", 2*time.Hour)
				if tc.wantSteps != nil && !slices.Equal(n.steps(), tc.wantSteps) {
					t.Errorf("steps %v, want %v", n.steps(), tc.wantSteps)
				}
				got := n.summarize()
				if !slices.Equal(got.retries, tc.want.retries) || !slices.Equal(got.doubts, tc.want.doubts) ||
					got.adopted != tc.want.adopted || got.drops != tc.want.drops ||
					got.stored != tc.want.stored || got.routed != tc.want.routed {
					t.Errorf("got %+v, want %+v; steps %v", got, tc.want, n.steps())
				}
			})
		})
	}
}

func TestLoad(t *testing.T) {
	run(t, func(h *harness) {
		h.talk.replies = []reply{lostBefore}
		for _, uid := range []string{"a", "b", "c"} {
			h.submit(h.task(uid, v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: alice}))
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
