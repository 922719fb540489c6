// SPDX-License-Identifier: Apache-2.0

package router

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
	"github.com/teamtalk-io/teamtalk-operator/test/recorded"
)

// readNotify is the body of a read notify.
func readNotify(user, session, upTo uint32, kind wire.SessionType) *wire.IMMsgDataReadNotify {
	return &wire.IMMsgDataReadNotify{
		UserId: proto.Uint32(user), SessionId: proto.Uint32(session), MsgId: proto.Uint32(upTo), SessionType: kind.Enum(),
	}
}

func bodyOf(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestReadNotifies reports the recorded read notify of a real router, and what follows a frame that is none, over the
// same connection.
func TestReadNotifies(t *testing.T) {
	const single, group = wire.SessionType_SESSION_TYPE_SINGLE, wire.SessionType_SESSION_TYPE_GROUP
	first := Read{User: 150, Session: 1, UpTo: 1}
	notify := func(body []byte) []byte {
		return pdu.PDU{Service: wire.ServiceMessage, Command: wire.CommandMsgReadNotify, Body: body}.Append(nil)
	}
	partial := readNotify(2, 1, 9, single)
	partial.MsgId = nil
	tests := map[string]struct {
		frame []byte
		want  []Read // before the recorded one
	}{
		"nothing":            {},
		"of a group":         {notify(bodyOf(t, readNotify(2, 7, 0xFFFFFFFF, group))), []Read{{User: 2, Session: 7, Group: true, UpTo: 0xFFFFFFFF}}},
		"without a body":     {notify(nil), nil},
		"no protobuf":        {notify([]byte{0xFF}), nil},
		"half of one":        {notify(bodyOf(t, readNotify(2, 1, 9, single))[:3]), nil},
		"a field is missing": {notify(bodyOf(t, partial)), nil},
		"of no type":         {notify(bodyOf(t, readNotify(2, 1, 9, 3))), nil},
		"too long to hold":   {notify(make([]byte, pdu.MaxIn)), nil},
		"another command": {
			pdu.PDU{Command: wire.CommandMsgReadAck, Body: bodyOf(t, readNotify(2, 1, 9, single))}.Append(nil), nil,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var got []Read
			o := Options{OnRead: func(r Read) { got = append(got, r) }}
			bubble(t, o, func(t *testing.T, h *harness, router *peer.Conn) {
				router.SendRaw(append(tc.frame, recorded.Named(t, "read_notify").PeerReceives...))
				synctest.Wait()
				if want := append(slices.Clone(tc.want), first); !slices.Equal(got, want) {
					t.Errorf("reported %v, want %v", got, want)
				}
				h.wantRoutes(t, router)
				h.wantState(t, time.Now(), 1)
			})
		})
	}
}

// FuzzParseRead parses any bytes as a read notify. A valid one is the same after it is encoded again.
func FuzzParseRead(f *testing.F) {
	f.Add(bodyOf(f, readNotify(150, 1, 1, wire.SessionType_SESSION_TYPE_SINGLE)))
	f.Add(bodyOf(f, readNotify(0, 0xFFFFFFFF, 0xFFFFFFFF, wire.SessionType_SESSION_TYPE_GROUP)))
	f.Add(bodyOf(f, readNotify(1, 2, 3, 0)))
	f.Add([]byte{0x08})
	f.Fuzz(func(t *testing.T, body []byte) {
		read, ok := parseRead(body)
		if !ok {
			if read != (Read{}) {
				t.Fatalf("%v of an invalid read notify", read)
			}
			return
		}
		kind := wire.SessionType_SESSION_TYPE_SINGLE
		if read.Group {
			kind = wire.SessionType_SESSION_TYPE_GROUP
		}
		again, ok := parseRead(bodyOf(t, readNotify(read.User, read.Session, read.UpTo, kind)))
		if !ok || again != read {
			t.Fatalf("%v came back as %v, %v", read, again, ok)
		}
	})
}
