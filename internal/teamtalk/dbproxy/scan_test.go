// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
	"github.com/teamtalk-io/teamtalk-operator/test/peer"
)

// counter is a Scanner that wants ids from 1 on.
type counter struct {
	t     *testing.T
	begun int
	rows  uint32
	// same: all rows have one id.
	same bool
}

func (c *counter) Begin() { c.begun, c.rows = c.begun+1, 0 }

func (c *counter) Row(r *wire.MsgInfo) {
	if c.rows++; r.GetMsgId() != c.rows && !c.same {
		c.t.Errorf("row %d has the id %d", c.rows, r.GetMsgId())
	}
}

// answerList is an answer with n rows of size bytes.
func answerList(handle uint32, s Session, n, size int) *wire.IMGetMsgListRsp {
	answer := &wire.IMGetMsgListRsp{
		UserId: &s.UserID, SessionType: &s.Type, SessionId: &s.ID, MsgIdBegin: proto.Uint32(0), AttachData: pdu.AttachData(handle),
	}
	for i := range n {
		answer.MsgList = append(answer.MsgList, &wire.MsgInfo{
			MsgId: proto.Uint32(uint32(i + 1)), FromSessionId: proto.Uint32(1), CreateTime: proto.Uint32(1),
			MsgType: wire.MsgType_MSG_TYPE_SINGLE_TEXT.Enum(), MsgData: bytes.Repeat([]byte{'x'}, size),
		})
	}
	return answer
}

// TestScan passes every row of an answer to the scanner, whether it is short enough to be held or not, and no row
// of another answer.
func TestScan(t *testing.T) {
	const many, size = 30_000, 200 // 6 MB
	answer := func(handle uint32, n int) pdu.PDU {
		p, err := pdu.New(wire.CommandMsgListRsp, uint16(handle), answerList(handle, singleChat, n, size))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	changed := func(p pdu.PDU, body []byte) pdu.PDU {
		p.Body = body
		return p
	}
	const handle, other = 1, 1<<16 + 1 // of one seq
	long := answer(handle, many)
	tests := map[string]struct {
		answers   []pdu.PDU
		wantRows  uint32
		wantBegun int
		wantErr   []error
	}{
		"none":                        {answers: []pdu.PDU{answer(handle, 0)}, wantBegun: 1},
		"short":                       {answers: []pdu.PDU{answer(handle, 10)}, wantRows: 10, wantBegun: 1},
		"long":                        {answers: []pdu.PDU{long}, wantRows: many, wantBegun: 1},
		"another's, then a long one":  {answers: []pdu.PDU{answer(other, many+5), long}, wantRows: many, wantBegun: 2},
		"another's, then a short one": {answers: []pdu.PDU{answer(other, many), answer(handle, 0)}, wantBegun: 2},
		"no rows at all": {
			answers:   []pdu.PDU{changed(long, bytes.Repeat([]byte{0xFF}, len(long.Body)))},
			wantBegun: 1, wantErr: []error{ErrTooLong},
		},
		"cut off": {
			answers:  []pdu.PDU{changed(long, long.Body[:len(long.Body)-20])},
			wantRows: many - 1, wantBegun: 1, wantErr: []error{ErrTooLong},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{Connections: 1}, func(t *testing.T, h *harness, server *peer.Conn) {
				path, done, err := h.OpenPath()
				if err != nil {
					t.Fatal(err)
				}
				defer done()
				got := &counter{t: t}
				scan := async(func() (int, error) { return 0, path.Scan(t.Context(), singleChat, many+10, got) })
				server.Next()
				for _, p := range tc.answers {
					server.SendRaw(p.Append(nil))
				}
				want(t, "scan", <-scan, 0, tc.wantErr...)
				if got.rows != tc.wantRows || got.begun != tc.wantBegun {
					t.Errorf("%d rows, begun %d times; want %d and %d", got.rows, got.begun, tc.wantRows, tc.wantBegun)
				}
				// The connection is still usable.
				read := usersAsync(t, path)
				answerUsers(server, server.Next())
				want(t, "users", <-read, 0)
			})
		})
	}
}

// TestInvalidLength: a length that ends the connection is too long for the request with this answer only. The other
// requests are lost, and the client connects again.
func TestInvalidLength(t *testing.T) {
	for length, wantErr := range map[uint32]error{pdu.MaxSkip + 1: ErrTooLong, 15: ErrConnectionLost} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				scan := async(func() (int, error) { return 0, h.Scan(t.Context(), singleChat, 65536, &counter{t: t}) })
				asked := server.Next()
				send := h.sendAsync(t.Context(), message(2))
				header := pdu.PDU{Command: wire.CommandMsgListRsp, Seq: asked.Seq}.Append(nil)
				binary.BigEndian.PutUint32(header, length)
				server.SendRaw(header)
				want(t, "scan", <-scan, 0, wantErr)
				want(t, "send", <-send, 0, ErrConnectionLost)
				server = <-h.Conns
				synctest.Wait()
				send = h.sendAsync(t.Context(), message(2))
				answerStored(t, server, server.Next(), 3)
				want(t, "send", <-send, 3)
			})
		})
	}
}

// TestScanBounded bounds what an answer can make of its bytes: rows beyond those that were asked for, long fields
// that are no rows, groups, and rows too long to be read.
func TestScanBounded(t *testing.T) {
	row := answerList(1, singleChat, 1, 10)
	one, err := proto.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	rowsOnly, err := proto.Marshal(row.GetMsgList()[0])
	if err != nil {
		t.Fatal(err)
	}
	more := protowire.AppendBytes([]byte{messageField<<3 | 2}, rowsOnly)
	for name, body := range map[string][]byte{
		"rows that nobody asked for": append(bytes.Repeat(more, 20_000), one...),
		"empty rows":                 append(bytes.Repeat([]byte{messageField<<3 | 2, 0}, 1<<20), one...),
		"groups":                     append(bytes.Repeat([]byte{0x0b}, 1<<20), one...),
		"other fields":               append(bytes.Repeat([]byte{0xfa, 1, 0}, 1<<20), one...),
		"a long field":               append(protowire.AppendBytes([]byte{1<<3 | 2}, make([]byte, 1<<20)), one...),
		"a row too long":             append(protowire.AppendBytes([]byte{messageField<<3 | 2}, make([]byte, maxRow+1)), one...),
		"a row over the end":         append(one, messageField<<3|2, 0xFF, 0xFF, 0xFF, 0x7F),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Options{}, func(t *testing.T, h *harness, server *peer.Conn) {
				var before, after runtime.MemStats
				got := async(func() (int, error) { return 0, h.Scan(t.Context(), singleChat, 16, &counter{t: t, same: true}) })
				frame := pdu.PDU{Command: wire.CommandMsgListRsp, Seq: server.Next().Seq, Body: padded(body)}.Append(nil)
				runtime.ReadMemStats(&before)
				server.SendRaw(frame)
				want(t, "scan", <-got, 0, ErrTooLong)
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 512<<10 {
					t.Errorf("%d bytes are allocated for %d", n, len(frame))
				}
			})
		})
	}
}

// padded makes a body longer than the part that is held at first.
func padded(body []byte) []byte {
	if len(body) > pdu.MaxSmall {
		return body
	}
	return append(body, make([]byte, pdu.MaxSmall)...)
}
