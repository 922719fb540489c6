package delivery

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery/queue"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// TestKeyedInBusyConversation looks for a key among many rows, found or not.
func TestKeyedInBusyConversation(t *testing.T) {
	cases := map[string]struct {
		rows, size int
		sent       bool
		wantState  v1alpha1.RecipientState
		wantReason string
		wantSends  int
	}{
		"found at its end": {rows: 20_000, size: 1, sent: true, wantState: v1alpha1.StateRouted, wantReason: v1alpha1.ReasonAdopted},
		"not in it":        {rows: 20_000, size: 1, wantState: v1alpha1.StateRouted, wantSends: 1},
		"too many rows":    {rows: 70_000, size: 1, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
		"too long rows":    {rows: 20_000, size: 2000, wantState: v1alpha1.StateFailed, wantReason: v1alpha1.ReasonOutcomeUnknown},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				spec := h.keyed("m", "hello", toAlice)
				if tc.sent {
					h.store(spec)
				}
				// Somebody else's: what they say is not looked at.
				data, kind := make([]byte, tc.size), wire.MsgType_MSG_TYPE_SINGLE_TEXT
				now, from := proto.Uint32(uint32(time.Now().Unix())), proto.Uint32(alice)
				for n := range tc.rows {
					h.talk.rows = append(h.talk.rows, stored{&wire.MsgInfo{
						MsgId: proto.Uint32(uint32(1000 + n)), FromSessionId: from, CreateTime: now, MsgType: &kind, MsgData: data,
					}, queue.ConversationOf("", bot, toAlice), time.Now()})
				}
				spec.Policy.Deadline = time.Now().Add(time.Minute)
				h.submit(spec)
				p := h.await("m", 2*time.Minute).Recipients[0]
				wantProgress(t, p, tc.wantState, tc.wantReason)
				if sends, _, _ := h.talk.counts(); sends != tc.wantSends {
					t.Errorf("sent %d times, want %d", sends, tc.wantSends)
				}
			})
		})
	}
}
