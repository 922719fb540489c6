// SPDX-License-Identifier: Apache-2.0

// Package peer plays a TeamTalk server to the clients in internal/teamtalk: in memory, and on the clock of a
// synctest bubble.
//
// Listen returns a Listener. Its Dial is for the client, and its Conns are the server's ends of the connections.
package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/pdu"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Address is the address that clients must dial.
const Address = "teamtalk.example:10600"

// Listener is the address of a server.
type Listener struct {
	tb testing.TB
	// Raw connections are not read until Conn.Serve.
	Raw bool
	// Refuse makes every dial fail.
	Refuse bool
	// Conns are the server's ends of the connections that were dialed.
	Conns chan *Conn

	mu    sync.Mutex
	dials []time.Time
}

// Listen returns a Listener whose connections are read at all times.
func Listen(tb testing.TB) *Listener { return &Listener{tb: tb, Conns: make(chan *Conn, 1000)} }

// Dial is a link.DialFunc.
func (l *Listener) Dial(_ context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" || address != Address {
		l.tb.Errorf("dialed %s %s", network, address)
	}
	l.mu.Lock()
	l.dials = append(l.dials, time.Now())
	l.mu.Unlock()
	if l.Refuse {
		return nil, errors.New("refused")
	}
	client, server := net.Pipe()
	c := &Conn{Conn: server, tb: l.tb, Requests: make(chan pdu.PDU, 10000)}
	if !l.Raw {
		c.Serve()
	}
	l.Conns <- c
	return client, nil
}

// Pauses returns the times between the dials.
func (l *Listener) Pauses() []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var pauses []time.Duration
	for i := 1; i < len(l.dials); i++ {
		pauses = append(pauses, l.dials[i].Sub(l.dials[i-1]))
	}
	return pauses
}

// Conn is the server's end of a connection. It answers nothing by itself.
type Conn struct {
	net.Conn
	tb testing.TB
	// Requests are the frames that have arrived, without heartbeats. It is closed with the connection.
	Requests chan pdu.PDU
	arrivals []Arrival
}

// Arrival is a frame that has arrived.
type Arrival struct {
	Command wire.Command
	Seq     uint16
	At      time.Time
}

// Serve reads the connection until it is closed.
func (c *Conn) Serve() *Conn {
	go func() {
		defer close(c.Requests)
		r := pdu.NewReader(c, 0)
		for {
			p, err := r.Read()
			if err != nil {
				return
			}
			c.arrivals = append(c.arrivals, Arrival{p.Command, p.Seq, time.Now()})
			if p.Command != wire.CommandHeartBeat {
				c.Requests <- p
			}
		}
	}()
	return c
}

// Arrivals returns the frames that have arrived, with heartbeats.
func (c *Conn) Arrivals() []Arrival {
	synctest.Wait()
	return c.arrivals
}

// Next returns the next request, which must arrive without time passing.
func (c *Conn) Next() pdu.PDU {
	c.tb.Helper()
	synctest.Wait()
	select {
	case p, ok := <-c.Requests:
		if !ok {
			c.tb.Fatal("the connection is closed")
		}
		return p
	default:
		c.tb.Fatal("no request has arrived")
		return pdu.PDU{}
	}
}

// SendRaw writes bytes.
func (c *Conn) SendRaw(b []byte) {
	c.tb.Helper()
	if _, err := c.Write(b); err != nil {
		c.tb.Errorf("the server cannot write: %v", err)
	}
}

// Send writes a frame.
func (c *Conn) Send(command wire.Command, seq uint16, body proto.Message) {
	c.tb.Helper()
	p, err := pdu.New(command, seq, body)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.SendRaw(p.Append(nil))
}

// Start runs f until the test has ended, or until the returned function is called.
func Start(tb testing.TB, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	tb.Cleanup(stop)
	return stop
}

// Async calls f in the background, lets it get as far as it can without time passing, and returns its result.
func Async[T any](f func() T) <-chan T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	synctest.Wait()
	return result
}

// WantErr checks that err wraps all errors of wants, and is nil if there are none.
func WantErr(tb testing.TB, what string, err error, wants ...error) {
	tb.Helper()
	if len(wants) == 0 && err != nil {
		tb.Errorf("%s: %v", what, err)
	}
	for _, want := range wants {
		if !errors.Is(err, want) {
			tb.Errorf("%s: %v, want %v", what, err, want)
		}
	}
}

// Elapse lets time pass in the bubble.
func Elapse(d time.Duration) { <-time.After(d) }
