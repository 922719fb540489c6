// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// BenchmarkSendReadBack sends texts to 64 users, one in flight for each, and
// reads every one back.
func BenchmarkSendReadBack(b *testing.B) {
	for name, file := range map[string]bool{"memory": false, "file": true} {
		b.Run(name, func(b *testing.B) {
			s := start(b, func(o *Options) {
				o.Workers = 0
				if file {
					o.Database = b.TempDir() + "/teamtalk.db"
				}
			})
			c := dial(b, s.DBProxyAddr())
			const inFlight = 64
			next := 0
			sendOne := func() {
				to := uint32(100 + next%inFlight)
				c.send(wire.CommandMsgData, 1, textMessage(b, 1, to, wire.MsgType_MSG_TYPE_SINGLE_TEXT, fmt.Sprint("message ", next)))
				next++
			}
			b.ResetTimer()
			for next < min(inFlight, b.N) {
				sendOne()
			}
			for read := 0; read < b.N; {
				switch p := c.next(); p.Command {
				case wire.CommandMsgData:
					m := body[wire.IMMsgData](b, p)
					c.send(wire.CommandMsgByIDReq, 1, &wire.IMGetMsgByIdReq{
						UserId: m.FromUserId, SessionType: wire.SessionType_SESSION_TYPE_SINGLE.Enum(),
						SessionId: m.ToSessionId, MsgIdList: []uint32{m.GetMsgId()},
					})
				case wire.CommandMsgByIDRsp:
					if m := body[wire.IMGetMsgByIdRsp](b, p); len(m.GetMsgList()) != 1 {
						b.Fatalf("read back %d messages, want 1: %v", len(m.GetMsgList()), proto.Message(m))
					}
					if read++; next < b.N {
						sendOne()
					}
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
		})
	}
}
