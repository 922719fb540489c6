// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// history is a conversation with more rows than anybody asks for, all of them alice's, and as it is on the wire:
// db_proxy ends no connection over a long answer, but nobody can read it.
type history struct {
	*talk
	// length returns how long the content of a row is, the newest's first, and whether it is a sound.
	length func(n int) (int, bool)
	// asked counts the rows of the longest answer, lost those that were too long.
	asked uint32
	lost  int
}

func (x *history) Path() (dbproxy.Reads, func(), error) { return x, func() {}, nil }

func (x *history) Scan(_ context.Context, _ dbproxy.Session, count uint32, to dbproxy.Scanner) error {
	type sized struct {
		*wire.MsgInfo
		size int
	}
	known, size := map[int]sized{}, 0
	to.Begin()
	for n := range count {
		length, sound := x.length(int(n))
		row, ok := known[length]
		if !ok {
			kind := wire.MsgType_MSG_TYPE_SINGLE_TEXT
			if sound {
				kind = wire.MsgType_MSG_TYPE_SINGLE_AUDIO
			}
			row.MsgInfo = &wire.MsgInfo{
				MsgId: proto.Uint32(1 << 31), FromSessionId: proto.Uint32(alice), CreateTime: proto.Uint32(uint32(time.Now().Unix())),
				MsgType: &kind, MsgData: make([]byte, length),
			}
			row.size = proto.Size(&wire.IMGetMsgListRsp{MsgList: []*wire.MsgInfo{row.MsgInfo}})
			known[length] = row
		}
		if size += row.size; size > dbproxy.MaxScan {
			x.lost++
			return dbproxy.ErrTooLong
		}
		to.Row(row.MsgInfo)
	}
	x.asked = max(x.asked, count)
	return nil
}

// TestSearchStaysInBounds looks far back where rows are short, and asks for no answer
// that its connection does not survive, whatever comes behind them.
func TestSearchStaysInBounds(t *testing.T) {
	const short, long = 64, 4096
	then := func(n, first, length int, sound bool) func(int) (int, bool) {
		return func(i int) (int, bool) {
			if i < n {
				return first, false
			}
			return length, sound
		}
	}
	cases := map[string]struct {
		length    func(int) (int, bool)
		wantAsked uint32
	}{
		"short texts":               {then(0, 0, short, false), scanCountMax},
		"texts":                     {then(0, 0, 400, false), scanCountMax / 2},
		"long texts":                {then(0, 0, long, false), 8000},
		"long ones behind 100":      {then(100, short, long, false), 8000},
		"long ones behind 8,192":    {then(8192, short, long, false), 20_000},
		"long ones behind 9,000":    {then(9000, short, long, false), 20_000},
		"long ones behind 40,000":   {then(40_000, short, long, false), 40_000},
		"sounds":                    {then(0, 0, 100_000, true), 250},
		"sounds behind 100":         {then(100, short, 100_000, true), 128},
		"a sound now and then":      {func(n int) (int, bool) { return map[bool]int{true: 50_000, false: short}[n%50 == 0], n%50 == 0 }, 5000},
		"longer sounds behind some": {func(n int) (int, bool) { return 20_000 + 20_000*min(1, n/128), true }, 500},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, func(h *harness) {
				x := &history{talk: h.talk, length: tc.length}
				spec := h.task("m", toAlice)
				spec.Server = x
				p := recipientState{Progress: spec.Recipients[0]}
				found, err := spec.scanConversation(t.Context(), x, spec.session(p), p, knownRow{}, knownRow{})
				if found.row != nil || found.whole || err != nil {
					t.Errorf("%+v, %v", found, err)
				}
				if x.asked < tc.wantAsked {
					t.Errorf("asked for %d rows, want %d", x.asked, tc.wantAsked)
				}
			})
		})
	}
}

// TestTooLongIsAskedOnce: an answer that ends its connection for all others is asked for
// once, and the doubt ends in its time.
func TestTooLongIsAskedOnce(t *testing.T) {
	run(t, func(h *harness) {
		x := &history{talk: h.talk, length: func(n int) (int, bool) { return 64 + 50_000*min(1, n/1500), n >= 1500 }}
		spec := h.task("m", toAlice)
		spec.Server = x
		spec.EarlierUntil, spec.FromPriorTerm = time.Now().Add(PeerPatience), true
		h.submit(spec)
		wantProgress(t, h.await("m", 3*time.Hour).Recipients[0], v1alpha1.StateFailed, v1alpha1.ReasonOutcomeUnknown)
		if x.lost != 1 || x.asked < 1024 {
			t.Errorf("%d connections ended, %d rows asked for", x.lost, x.asked)
		}
	})
}
