// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBodies: over a limit the read that began first is aborted, of the caller that is over it or of the one that holds
// most. What fits into freeBody is never aborted.
func TestBodies(t *testing.T) {
	const mib = 1 << 20
	s := newBodies(8*mib, 2*mib)
	begin := func(caller string, n int) (*body, error) {
		b := s.begin(caller, func() {})
		return b, b.grow(n + freeBody)
	}
	mustBegin := func(caller string, n int) *body {
		t.Helper()
		b, err := begin(caller, n)
		if err != nil {
			t.Fatalf("%s: %v", caller, err)
		}
		return b
	}
	small := s.begin("greedy", func() {})
	if err := small.grow(freeBody); err != nil {
		t.Error(err)
	}
	first, second := mustBegin("greedy", mib), mustBegin("greedy", mib)
	third := mustBegin("greedy", mib)
	if !first.aborted || second.aborted || first.grow(2*mib) == nil {
		t.Error("the first read of a caller over its limit goes on")
	}
	modest := mustBegin("modest", mib)
	mustBegin("third", mib)
	fourth := mustBegin("fourth", 3*mib/2)
	if second.aborted {
		t.Error("aborted though more is free than the caller holds")
	}
	fifth := mustBegin("fifth", 3*mib/2)
	if !second.aborted || modest.aborted || third.aborted || small.aborted || fourth.aborted {
		t.Error("over the limit of all, the first read of the caller that holds most is to be aborted")
	}
	for _, b := range []*body{modest, third, fourth} {
		if b.finish() {
			t.Error("aborted")
		}
	}
	mustBegin("sixth", 5*mib/4)
	if !fifth.aborted {
		t.Error("the read of the caller that holds most goes on, of those that can be aborted")
	}
	if b, err := begin("seventh", 3*mib); !errors.Is(err, errTooManyBodies) || b.held != 0 {
		t.Errorf("a body beyond what can be aborted: %v", err)
	}
	if small.finish() || s.held > 8*mib {
		t.Errorf("held %d", s.held)
	}
}

// TestBodiesLeaveRoom: callers whose large bodies have been read, and wait for their answers, do not shut others out.
func TestBodiesLeaveRoom(t *testing.T) {
	s := newBodies(maxBodies, maxBodiesPerCaller)
	for caller := range 8 {
		for n := 0; ; n++ {
			b := s.begin(fmt.Sprint(caller), func() {})
			if b.grow(32<<10) != nil {
				break
			}
			if b.finish() || n > maxBodies>>14 {
				t.Fatal("a body that was read was aborted, or there is no limit")
			}
		}
	}
	if err := s.begin("another", func() {}).grow(32 << 10); err != nil {
		t.Errorf("with %d of %d held: %v", s.held, s.limit, err)
	}
}

// TestBodiesAreReleased: nothing is counted once requests are answered, whatever their end.
func TestBodiesAreReleased(t *testing.T) {
	s := serve(t, Options{MaxInFlight: 64, MaxPerCaller: 64}, Route{Pattern: "POST /body", Name: "body",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := ReadBody(r)
			if who := r.URL.Query().Get("who"); who != "" && !Identify(r.Context(), who) {
				err = errCallerBusy
			}
			if busy := (&BusyError{}); errors.As(err, &busy) {
				writeText(w, busy.Status, busy.Error())
			} else if err != nil {
				writeText(w, http.StatusBadRequest, err.Error())
			}
			fmt.Fprintf(w, "%d", len(body))
		})})
	statuses := make(chan int)
	const requests = 40
	for i := range requests {
		go func() {
			r := s.request(http.MethodPost, fmt.Sprint("/body?who=", i), bytes.NewReader(make([]byte, MaxBody-i)))
			if i%2 == 0 { // without a Content-Length
				r.Body, r.ContentLength = io.NopCloser(r.Body), -1
			}
			response, err := http.DefaultClient.Do(r)
			if err != nil { // the server has aborted it
				statuses <- 0
				return
			}
			_ = response.Body.Close()
			statuses <- response.StatusCode
		}()
	}
	served := 0
	for range requests {
		switch status := <-statuses; status {
		case http.StatusOK:
			served++
		case 0, http.StatusServiceUnavailable:
		default:
			t.Errorf("answered %d", status)
		}
	}
	if served == 0 {
		t.Error("no request was served")
	}
	if r, text := s.do(s.request(http.MethodPost, "/body", strings.NewReader("hello"))); r.StatusCode != 200 || text != "5" {
		t.Errorf("afterwards: %d %q", r.StatusCode, text)
	}
	s.stop()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if s.bodies.held != 0 || len(s.bodies.callers) != 0 {
		t.Errorf("still held: %d of %v", s.bodies.held, s.bodies.callers)
	}
}

// TestSlowBodiesHoldNoPlace: a request is in flight when its body has arrived.
func TestSlowBodiesHoldNoPlace(t *testing.T) {
	entered := make(chan struct{}, 64)
	s := serve(t, Options{MaxInFlight: 8, MaxPerCaller: 2}, Route{Pattern: "POST /slow", Name: "slow",
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			if _, err := ReadBody(r); err != nil {
				writeText(w, http.StatusBadRequest, err.Error())
			}
		})})
	for range 32 {
		c := dialFrom(t, "127.0.0.1", s.address)
		_, _ = io.WriteString(c, "POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n1")
		<-entered
	}
	if r, _ := s.do(s.request(http.MethodPost, "/slow", strings.NewReader("hello"))); r.StatusCode != http.StatusOK {
		t.Errorf("answered %d", r.StatusCode)
	}
}

// TestReadBody works without a Server.
func TestReadBody(t *testing.T) {
	got, err := ReadBody(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("hello")))
	if string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// TestDetach: a request is carried out when its caller has hung up, and not after the end of a shutdown.
func TestDetach(t *testing.T) {
	detached := make(chan context.Context, 1)
	gone, release := make(chan struct{}), make(chan struct{})
	s := serve(t, Options{DrainTimeout: 1}, Route{Pattern: "POST /detached", Name: "detached",
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, cancel := Detach(r.Context())
			defer cancel()
			if _, err := ReadBody(r); err != nil {
				t.Error(err)
			}
			detached <- ctx
			<-r.Context().Done()
			close(gone)
			<-release
		})})
	defer close(release)
	c := dialFrom(t, "127.0.0.1", s.address)
	_, _ = io.WriteString(c, "POST /detached HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1")
	ctx := <-detached
	_ = c.Close()
	<-gone
	if _, limited := ctx.Deadline(); ctx.Err() != nil || !limited {
		t.Errorf("the context has ended with its caller, or has no deadline: %v", ctx.Err())
	}
	s.stop()
	if err := s.end(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ended with %v", err)
	}
	<-ctx.Done()
}
