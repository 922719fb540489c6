// SPDX-License-Identifier: Apache-2.0

package link

import (
	"bytes"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// TestFlood: a peer that sends what nobody asked for, as fast as it is read, is closed with an error that says so, and
// dialed rarely after that. Requested frames, and others within the limit, are read.
func TestFlood(t *testing.T) {
	const perSecond = 1 << 20
	tests := map[string]struct {
		frame   []byte
		perSend int
		pause   time.Duration
		asked   bool
		want    bool
	}{
		"long frames":       {frame: pdu.PDU{Command: wire.CommandMsgListRsp, Body: make([]byte, 100<<10)}.Append(nil), perSend: 1, want: true},
		"short frames":      {frame: frame(wire.CommandMsgData, 0), perSend: 1000, want: true},
		"heartbeats":        {frame: frame(wire.CommandHeartBeat, 0), perSend: 1000, want: true},
		"answers":           {frame: pdu.PDU{Command: wire.CommandMsgListRsp, Body: make([]byte, 100<<10)}.Append(nil), perSend: 1, asked: true},
		"half of the limit": {frame: pdu.PDU{Command: wire.CommandMsgListRsp, Body: make([]byte, 50<<10)}.Append(nil), perSend: 1, pause: 100 * time.Millisecond},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limiter := NewReadLimiter(perSecond)
				h := run(t, peer.Listen(t), Options{Reads: limiter})
				h.unasked = !tc.asked
				quiet := run(t, peer.Listen(t), Options{Reads: limiter})
				quiet.unasked = true
				b, closed := bytes.Repeat(tc.frame, tc.perSend), 0
				beats := peer.Async(func() (n int) {
					for server := <-quiet.Conns; ; peer.Elapse(5 * time.Second) {
						if _, err := server.Write(frame(wire.CommandHeartBeat, 0)); err != nil {
							return n
						}
						n++
					}
				})
				end := time.Now().Add(5 * time.Minute)
				for time.Now().Before(end) {
					var server *peer.Conn
					select {
					case server = <-h.Conns:
					case <-time.After(time.Until(end)):
						continue
					}
					for time.Now().Before(end) {
						if _, err := server.Write(b); err != nil {
							break
						}
						peer.Elapse(tc.pause)
					}
					if !time.Now().Before(end) {
						break
					}
					closed++
					if err := <-h.down; !errors.Is(err, ErrFlood) {
						t.Errorf("closed with %v", err)
					}
				}
				if (closed > 0) != tc.want || closed > 18 {
					t.Errorf("closed %d times in five minutes, want a flood: %v", closed, tc.want)
				}
				if len(quiet.down) > 0 {
					t.Error("the other peer of the server was closed")
				}
				quiet.stop()
				if n := <-beats; n < 50 {
					t.Errorf("%d heartbeats of the other peer", n)
				}
			})
		})
	}
}
