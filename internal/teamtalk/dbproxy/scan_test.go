// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"

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
}

func (c *counter) Begin() { c.begun, c.rows = c.begun+1, 0 }

func (c *counter) Row(r *wire.MsgInfo) {
	if c.rows++; r.GetMsgId() != c.rows {
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
				path, err := h.OpenPath()
				if err != nil {
					t.Fatal(err)
				}
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

// TestRowsInPieces parses an answer in pieces of any length.
func TestRowsInPieces(t *testing.T) {
	body, err := proto.Marshal(answerList(77, groupChat, 20, 300))
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{1, 2, 7, 299, len(body)} {
		got := &counter{t: t}
		r := &rows{scanner: got}
		for left := body; len(left) > 0; left = left[min(length, len(left)):] {
			if n, err := r.Write(left[:min(length, len(left))]); n != min(length, len(left)) || err != nil {
				t.Fatal(n, err)
			}
		}
		answer := &wire.IMGetMsgListRsp{}
		if err := proto.Unmarshal(r.body(), answer); err != nil {
			t.Fatal(err)
		}
		if handle, ok := handleOf(r.body()); !ok || handle != 77 || !groupChat.echoed(answer) || got.rows != 20 || len(answer.GetMsgList()) != 0 {
			t.Errorf("in pieces of %d: %d rows, handle %d", length, got.rows, handle)
		}
	}
}

// TestRowsBounded bounds the memory for invalid answers.
func TestRowsBounded(t *testing.T) {
	huge := []byte{listField<<3 | 2, 0xFF, 0xFF, 0xFF, 0x7F} // a row that announces 256 MB
	for name, body := range map[string][]byte{
		"a row without end":   append(huge, make([]byte, 1<<20)...),
		"other fields":        bytes.Repeat([]byte{1 << 3, 1}, 1<<19),
		"what does not parse": bytes.Repeat([]byte{0xFF}, 1<<20),
	} {
		r := &rows{scanner: &counter{t: t}}
		for range 32 {
			if _, err := r.Write(body); err != nil {
				t.Fatal(err)
			}
		}
		if kept := cap(r.field) + cap(r.rest); r.body() != nil || kept > 4*pdu.MaxIn {
			t.Errorf("%s: %d bytes are kept", name, kept)
		}
	}
}
