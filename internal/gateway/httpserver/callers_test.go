package httpserver

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// callersRoute is a route whose callers say who they are, are held until they are let
// go, and are told how it went. Who says nothing is not known.
func callersRoute(name string, excess int) (r Route, entered, leave chan struct{}) {
	entered, leave = make(chan struct{}, 64), make(chan struct{})
	handler := func(w http.ResponseWriter, r *http.Request) {
		if who := r.URL.Query().Get("who"); who != "" && !Identify(r.Context(), who) {
			plain(w, http.StatusTeapot, "no room for "+who)
			return
		}
		entered <- struct{}{}
		<-leave
		_, _ = io.WriteString(w, "done")
	}
	return Route{Pattern: "GET /" + name, Name: name, Handler: http.HandlerFunc(handler), Excess: excess}, entered, leave
}

// hold has requests entered, and returns what they are answered with in the end.
func (s *served) hold(n int, path string, entered chan struct{}) <-chan int {
	s.t.Helper()
	answers := make(chan int, n)
	for range n {
		go func() {
			status, _, _ := s.get(path)
			answers <- status
		}()
		wait(s.t, entered)
	}
	return answers
}

// TestPerCaller: who has too much in flight is told so, and others are served.
func TestPerCaller(t *testing.T) {
	r, entered, leave := callersRoute("known", 0)
	s := serve(t, Options{MaxInFlight: 8}, r) // of which 2 are one caller's
	greedy := s.hold(2, "/known?who=greedy", entered)
	if status, body, _ := s.get("/known?who=greedy"); status != http.StatusTeapot || !strings.Contains(body, "greedy") {
		t.Errorf("beyond the bound: %d %q", status, body)
	}
	// All from one address: who is known does not count as one of it.
	others := s.hold(2, "/known?who=modest", entered)
	more := s.hold(1, "/known?who=third", entered)
	close(leave)
	for _, answers := range []<-chan int{greedy, others, more} {
		for range cap(answers) {
			if status := <-answers; status != http.StatusOK {
				t.Errorf("within the bound: %d", status)
			}
		}
	}
	if status, _, _ := s.get("/known?who=greedy"); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
	s.callers.mu.Lock()
	defer s.callers.mu.Unlock()
	if len(s.callers.inFlight) != 0 {
		t.Errorf("still counted: %v", s.callers.inFlight)
	}
}

// TestPerAddress: until it is known whose requests are, they count by where they come
// from, and who may not come again at 429 is told something else.
func TestPerAddress(t *testing.T) {
	for _, excess := range []int{0, http.StatusServiceUnavailable} {
		t.Run(fmt.Sprint(excess), func(t *testing.T) {
			r, entered, leave := callersRoute("unknown", excess)
			s := serve(t, Options{MaxInFlight: 8, MaxPerCaller: 3}, r)
			answers := s.hold(3, "/unknown", entered)
			status, body, header := s.get("/unknown")
			want := max(excess, http.StatusTooManyRequests)
			if status != want || header.Get("Retry-After") == "" || !strings.Contains(body, "from your address") {
				t.Errorf("beyond the bound: %d %q %v, want %d", status, body, header, want)
			}
			close(leave)
			for range cap(answers) {
				if status := <-answers; status != http.StatusOK {
					t.Errorf("within the bound: %d", status)
				}
			}
			if status, _, _ := s.get("/unknown"); status != http.StatusOK {
				t.Errorf("afterwards: %d", status)
			}
		})
	}
}

// TestIdentifyOutside: what is not in a Server has no bound.
func TestIdentifyOutside(t *testing.T) {
	for range 1000 {
		if !Identify(t.Context(), "anybody") {
			t.Fatal("no room")
		}
	}
}
