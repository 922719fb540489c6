// SPDX-License-Identifier: Apache-2.0

package devserver

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds all waits.
const patience = 20 * time.Second

// sentinelSeq marks requests whose answers show that all requests before them were handled: start has one worker,
// which keeps the order.
const sentinelSeq = 0xFFFF

// start runs a server on free ports that sends no heartbeats and executes requests in order.
func start(t testing.TB, change func(*Options)) *Server {
	t.Helper()
	o := Options{
		DBProxyAddress: ":0", RouterAddress: ":0", InboxAddress: ":0",
		Workers: 1, HeartbeatInterval: time.Hour, SilenceTimeout: time.Hour,
	}
	if change != nil {
		change(&o)
	}
	s, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// serve runs a server like start, and connects to its db_proxy.
func serve(t testing.TB, change func(*Options)) (*Server, *client) {
	t.Helper()
	s := start(t, change)
	return s, dial(t, s.DBProxyAddr())
}

// stored returns the stored messages.
func stored(t testing.TB, s *Server) []StoredMessage {
	t.Helper()
	messages, err := s.Messages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return messages
}

// client is a connection of a test.
type client struct {
	t      testing.TB
	conn   net.Conn
	frames *pdu.Reader
	// router: this is a connection to the router.
	router bool
}

func dial(t testing.TB, address string) *client {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, conn: conn, frames: pdu.NewReader(conn, 0)}
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) send(command wire.Command, seq uint16, m proto.Message) {
	c.t.Helper()
	p, err := pdu.New(command, seq, m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(p.Append(nil))
}

// text sends a text to db_proxy.
func (c *client) text(seq uint16, from, to uint32, kind wire.MsgType, text string) {
	c.t.Helper()
	c.send(wire.CommandMsgData, seq, textMessage(c.t, from, to, kind, text))
}

// next returns the next PDU.
func (c *client) next() pdu.PDU {
	c.t.Helper()
	p, err := c.frames.Read()
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// settle sends a sentinel and returns everything that arrived before its answer.
func (c *client) settle() []pdu.PDU {
	c.t.Helper()
	command := wire.CommandUsersInfoReq
	var request proto.Message = &wire.IMUsersInfoReq{UserId: proto.Uint32(1)}
	if c.router {
		command, request = wire.CommandUsersStatReq, &wire.IMUsersStatReq{UserId: proto.Uint32(1)}
	}
	c.send(command, sentinelSeq, request)
	var before []pdu.PDU
	for {
		p := c.next()
		if p.Seq == sentinelSeq {
			return before
		}
		before = append(before, p)
	}
}

func dialRouter(t testing.TB, address string) *client {
	t.Helper()
	c := dial(t, address)
	c.router = true
	return c
}

// ended reports whether the server closes the connection. It discards what arrives before.
func (c *client) ended() bool {
	for {
		if _, err := c.frames.Read(); err != nil {
			var netErr net.Error
			return !errors.As(err, &netErr) || !netErr.Timeout()
		}
	}
}

func textMessage(t testing.TB, from, to uint32, kind wire.MsgType, text string) *wire.IMMsgData {
	t.Helper()
	c, err := cipher.New([]byte(DevelopmentKey))
	if err != nil {
		t.Fatal(err)
	}
	return &wire.IMMsgData{
		FromUserId: proto.Uint32(from), ToSessionId: proto.Uint32(to), MsgId: proto.Uint32(1),
		CreateTime: proto.Uint32(uint32(time.Now().Unix())), MsgType: kind.Enum(), MsgData: c.Encrypt([]byte(text)),
	}
}

func body[T any, M interface {
	*T
	proto.Message
}](t testing.TB, p pdu.PDU) M {
	t.Helper()
	m := M(new(T))
	if err := proto.Unmarshal(p.Body, m); err != nil {
		t.Fatalf("answer %#04x: %v", uint16(p.Command), err)
	}
	return m
}
