// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// dialFrom connects from a local address.
func dialFrom(t *testing.T, from, address string) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: timeout}).Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(timeout))
	return c
}

// TestConnectionsAreAccepted: whatever the connections of an address do, another one is served, and so are those of
// other addresses that wait. The connections over the limit are closed, the one that has waited longest first.
func TestConnectionsAreAccepted(t *testing.T) {
	const head = "POST /read HTTP/1.1\r\nHost: localhost\r\n"
	for name, tc := range map[string]struct {
		begin string
		// answered connections read an answer first.
		answered bool
	}{
		"silent":                       {},
		"idle":                         {"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", true},
		"with headers that do not end": {"GET /healthz HTTP/1.1\r\nX: ", false},
		"with a body that does not":    {head + "Content-Length: 9\r\n\r\n1", false},
		"with an unread body":          {"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{}, Route{Pattern: "POST /read", Name: "read", Handler: http.HandlerFunc(
				func(w http.ResponseWriter, r *http.Request) {
					if _, err := ReadBody(r); err != nil {
						writeText(w, http.StatusBadRequest, err.Error())
					}
				})})
			open := func(from string) net.Conn {
				c := dialFrom(t, from, s.address)
				_, _ = io.WriteString(c, tc.begin)
				if tc.answered {
					r, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, r.Body)
				}
				return c
			}
			began := time.Now()
			other := open("127.0.0.2")
			first := open("127.0.0.1")
			for range 2 * maxConnections {
				open("127.0.0.1")
			}
			for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
				c := dialFrom(t, from, s.address)
				_, _ = io.WriteString(c, "GET /healthz HTTP/1.0\r\n\r\n")
				if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != http.StatusOK {
					t.Errorf("a new connection from %s: %v", from, err)
				}
			}
			if n, err := io.Copy(io.Discard, first); err != nil && !isReset(err) {
				t.Errorf("the first connection is open: %d bytes, %v", n, err)
			}
			// On a busy machine the time for its header may be over: then the server closes it for that.
			if name == "silent" && time.Since(began) < readHeaderTimeout || name == "idle" {
				_, _ = io.WriteString(other, "GET /healthz HTTP/1.0\r\n\r\n")
				if r, err := http.ReadResponse(bufio.NewReader(other), nil); err != nil || r.StatusCode != http.StatusOK {
					t.Errorf("an older connection of another address: %v", err)
				}
			}
		})
	}
}

// isReset reports whether an error is of a connection that the peer has closed.
func isReset(err error) bool {
	netErr, ok := err.(net.Error) //nolint:errorlint // the error of the connection itself
	return ok && !netErr.Timeout()
}

// TestConnectionsOfManyAddresses: when all places are taken, the connections of the address with the most are closed.
func TestConnectionsOfManyAddresses(t *testing.T) {
	set := newConnections(8, 6)
	l, err := listenBounded("127.0.0.1:0", set)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var accepted []net.Conn
	accept := func(from string) net.Conn {
		dialFrom(t, from, l.Addr().String())
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted = append(accepted, c)
		return c
	}
	modest, busy := accept("127.0.0.2"), accept("127.0.0.2")
	busy.(*connection).serve()
	for range 20 {
		accept("127.0.0.1")
	}
	for i := range 20 {
		accept(fmt.Sprint("127.0.1.", i%4))
	}
	set.mu.Lock()
	if set.waiting != 8 {
		t.Errorf("%d wait, want 8", set.waiting)
	}
	for _, c := range []net.Conn{modest, busy} {
		if c.(*connection).closed {
			t.Error("a connection of a modest address is closed")
		}
	}
	set.mu.Unlock()
	for _, c := range accepted {
		_ = c.Close()
	}
	if set.waiting != 0 || len(set.addresses) != 0 {
		t.Errorf("still counted: %d of %v", set.waiting, set.addresses)
	}
	busy.(*connection).wait()
	if set.waiting != 0 {
		t.Error("a closed connection counts")
	}
}

// TestClientAddress: an IPv6 client has a network of addresses.
func TestClientAddress(t *testing.T) {
	for remote, want := range map[string]string{
		"10.1.2.3:80": "10.1.2.3", "[::ffff:10.1.2.3]:80": "10.1.2.3", "[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64", "pipe": "pipe",
	} {
		if got := clientAddress(remote); got != want {
			t.Errorf("%s: %s, want %s", remote, got, want)
		}
	}
}
