// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"container/list"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// maxBodies limits the bytes of all bodies in memory, and maxBodiesPerCaller those of one caller or address. A caller
	// may also hold no more than is still free.
	maxBodies          = 16 << 20
	maxBodiesPerCaller = maxBodies / 4
	// freeBody is what each request may hold besides, so that ordinary requests need nothing of the limit. The limits
	// of connections and of requests in flight bound how many do.
	freeBody = 4 << 10
)

// errTooManyBodies reports that a body exceeds the limit of all bodies in memory.
var errTooManyBodies = &BusyError{http.StatusServiceUnavailable, "too many large bodies at once: try again later"}

// bodies bounds the memory that bodies take, by the bytes that were received: what a caller announces costs nothing.
// Over a limit, the read that began first is aborted, so that slow callers do not keep others out.
// semaphore.Weighted cannot take back what it has given.
type bodies struct {
	limit, perCaller int

	mu      sync.Mutex
	held    int
	callers map[string]*callerBodies
}

// callerBodies are the bodies of one caller or address. They are dropped with the last one.
type callerBodies struct {
	held, count int
	// reading has the *body that are being read and hold something, the first to do so first.
	reading list.List
}

// body is the body of one request. Its fields are guarded by bodies.mu.
type body struct {
	set    *bodies
	caller string
	of     *callerBodies
	held   int
	// element is nil unless the body is in of.reading.
	element *list.Element
	// abort makes the read fail. It does not block.
	abort   func()
	aborted bool
}

func newBodies(limit, perCaller int) *bodies {
	return &bodies{limit: limit, perCaller: perCaller, callers: map[string]*callerBodies{}}
}

// begin returns a body whose read begins. It must be released.
func (s *bodies) begin(caller string, abort func()) *body {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.callers[caller]
	if of == nil {
		of = &callerBodies{}
		s.callers[caller] = of
	}
	of.count++
	return &body{set: s, caller: caller, of: of, abort: abort}
}

// grow counts the body as n bytes. It returns errTooManyBodies if the body was aborted, or if no read can be aborted.
func (b *body) grow(n int) error {
	s := b.set
	s.mu.Lock()
	defer s.mu.Unlock()
	add := max(0, n-freeBody) - b.held
	for add > 0 && !b.aborted {
		crowded := s.crowded(b.of, add)
		if crowded == nil {
			if b.held == 0 {
				b.element = b.of.reading.PushBack(b)
			}
			b.count(add)
			return nil
		}
		if crowded.reading.Len() == 0 {
			return errTooManyBodies
		}
		oldest := crowded.reading.Front().Value.(*body)
		oldest.end()
		oldest.count(-oldest.held)
		oldest.aborted = true
		oldest.abort()
	}
	if b.aborted {
		return errTooManyBodies
	}
	return nil
}

// crowded returns the caller whose reads must be aborted before a caller may hold more, or nil. It is the caller itself
// if it is over its limit, or else the caller that holds most. A caller may hold no more than it leaves free. So
// callers whose bodies have been read, and can no longer be aborted, always leave something for the next one.
func (s *bodies) crowded(of *callerBodies, add int) *callerBodies {
	switch {
	case of.held+add > s.perCaller:
		return of
	case of.held+add <= s.limit-s.held-add:
		return nil
	}
	most := of
	for _, other := range s.callers {
		if other.reading.Len() > 0 && (most.reading.Len() == 0 || other.held > most.held) {
			most = other
		}
	}
	return most
}

// count adds to the held bytes. The caller holds bodies.mu.
func (b *body) count(n int) {
	b.held += n
	b.of.held += n
	b.set.held += n
}

// end ends the read. The caller holds bodies.mu.
func (b *body) end() {
	if b.element != nil {
		b.of.reading.Remove(b.element)
		b.element = nil
	}
}

// finish ends the read. Held bytes remain held until release.
func (b *body) finish() (aborted bool) {
	b.set.mu.Lock()
	defer b.set.mu.Unlock()
	b.end()
	return b.aborted
}

func (b *body) release() {
	b.set.mu.Lock()
	defer b.set.mu.Unlock()
	b.end()
	b.count(-b.held)
	if b.of.count--; b.of.count == 0 {
		delete(b.set.callers, b.caller)
	}
}

// readAll reads a body that announces size bytes, or -1, and counts its memory as it grows.
func (b *body) readAll(from io.Reader, size int64) ([]byte, error) {
	data := make([]byte, 0, 512)
	for {
		if len(data) == cap(data) {
			n := 2 * cap(data)
			if size >= int64(cap(data)) && size < int64(n) {
				n = int(size) + 1 // the last byte finds the end
			}
			if err := b.grow(n); err != nil {
				return nil, err
			}
			data = append(make([]byte, 0, n), data...)
		}
		n, err := from.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == nil {
			continue
		}
		switch aborted := b.finish(); {
		case aborted:
			return nil, errTooManyBodies
		case errors.Is(err, io.EOF):
			return data, nil
		}
		return nil, err
	}
}

// ReadBody reads the body of a request, which counts until the request is answered. While it is read, the request is
// not in flight, so that slow callers hold no places. The error is a BusyError, a http.MaxBytesError, or another one
// if the body was not received completely and in time.
func ReadBody(r *http.Request) ([]byte, error) {
	info := infoOf(r.Context())
	if info.server == nil {
		return io.ReadAll(r.Body)
	}
	info.leave()
	if info.body == nil {
		info.body = info.server.bodies.begin(info.caller, func() { _ = info.connection.SetReadDeadline(time.Unix(1, 0)) })
	}
	data, err := info.body.readAll(r.Body, r.ContentLength)
	if err != nil {
		return nil, err
	}
	return data, info.enter(r.Context())
}
