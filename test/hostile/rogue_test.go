// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bytes"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// rogue is a server that does to each connection what it wants.
type rogue struct {
	address string
	// accepted counts connections, written the bytes that were sent.
	accepted, written atomic.Int64
}

// startRogue starts a server whose connections are served until the test ends.
func startRogue(t testing.TB, serve func(r *rogue, conn net.Conn)) *rogue {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rogue{address: l.Addr().String()}
	ended, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.accepted.Add(1)
			stop := context.AfterFunc(ended, func() { _ = conn.Close() })
			wg.Go(func() {
				defer stop()
				defer conn.Close()
				serve(r, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		end()
		wg.Wait()
	})
	return r
}

// write writes bytes, and reports whether the connection goes on.
func (r *rogue) write(conn net.Conn, b []byte) bool {
	n, err := conn.Write(b)
	r.written.Add(int64(n))
	return err == nil
}

// flood sends a frame as fast as the operator reads.
func flood(frame []byte) func(*rogue, net.Conn) {
	// Short frames are sent together: the operator must not be spared by the sender.
	many := bytes.Repeat(frame, max(1, (64<<10)/len(frame)))
	return func(r *rogue, conn net.Conn) {
		go discard(conn)
		for r.write(conn, many) {
		}
	}
}

func discard(conn net.Conn) {
	for b := make([]byte, 4<<10); ; {
		if _, err := conn.Read(b); err != nil {
			return
		}
	}
}

// answer answers each request with a body, to which the handle is appended.
func answer(body func(request pdu.PDU) []byte) func(*rogue, net.Conn) {
	return func(r *rogue, conn net.Conn) {
		for frames := pdu.NewReader(conn, 0); ; {
			request, err := frames.Read()
			if err != nil {
				return
			}
			handle, ok := pdu.HandleOf(request.Body)
			if !ok {
				continue // a heartbeat
			}
			rsp := pdu.PDU{Command: request.Command.Answer(), Seq: request.Seq, Body: pdu.AppendHandle(body(request), handle)}
			if !r.write(conn, rsp.Append(nil)) {
				return
			}
		}
	}
}

// requester returns the first field of the answers about users: the user who made the request.
func requester(request pdu.PDU) []byte {
	_, _, n := protowire.ConsumeField(request.Body)
	return bytes.Clone(request.Body[:max(0, n)])
}

// stall announces answers that do not end.
func stall(r *rogue, conn net.Conn) {
	for frames := pdu.NewReader(conn, 0); ; {
		request, err := frames.Read()
		if err != nil {
			return
		}
		if request.Command == wire.CommandHeartBeat {
			continue
		}
		rsp := pdu.PDU{Command: request.Command.Answer(), Seq: request.Seq, Body: make([]byte, 600<<10)}.Append(nil)
		if !r.write(conn, rsp[:len(rsp)-1]) {
			return
		}
	}
}

// What bodies consist of that expand in a plain parser.
var (
	emptyElements = []byte{0x12, 0}
	unknownFields = []byte{0xfa, 1, 0}
	nestedGroups  = []byte{0x0b}
)

// bombLen is less than the longest frame that a plain Reader holds.
const bombLen = pdu.MaxIn - 4<<10

// bomb is a frame of 4 MiB that nobody has asked for.
func bomb(command wire.Command, of []byte) []byte {
	return pdu.PDU{Command: command, Body: bytes.Repeat(of, bombLen/len(of))}.Append(nil)
}
