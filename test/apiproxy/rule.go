package apiproxy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pollEvery is how often a wait looks again.
const pollEvery = 2 * time.Millisecond

// Action is what happens to a request; next passes it on.
type Action func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Rule says what happens to which requests.
type Rule struct {
	// Match chooses among the requests.
	Match func(*http.Request) bool
	// Skip lets the first of them pass, Every takes only each n-th of the others,
	// Count ends the rule after it has fired that often. 0: none, each, never.
	Skip, Every, Count int
	Do                 Action
}

// Armed is a rule at work.
type Armed struct {
	Rule
	proxy   *Proxy
	seen    int // under proxy.mu
	removed bool
	fired   atomic.Int64
}

// Add puts a rule to work. Of several that take a request, the first one does.
func (p *Proxy) Add(r Rule) *Armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &Armed{Rule: r, proxy: p}
	p.rules = append(p.rules, a)
	return a
}

// Fired is how often the rule has fired.
func (a *Armed) Fired() int { return int(a.fired.Load()) }

// Remove ends the rule.
func (a *Armed) Remove() {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	a.removed = true
}

// Await waits until the rule has fired n times.
func (a *Armed) Await(ctx context.Context, n int) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for a.Fired() < n {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d requests to the API server have come: %w", a.Fired(), n, context.Cause(ctx))
		}
	}
	return nil
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if a := p.match(r); a != nil {
		a.Do(w, r, p.reverse)
		return
	}
	p.reverse.ServeHTTP(w, r)
}

func (p *Proxy) match(r *http.Request) *Armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.rules {
		if a.removed || a.Count > 0 && a.Fired() >= a.Count || !a.Match(r) {
			continue
		}
		a.seen++
		if n := a.seen - a.Skip; n > 0 && (a.Every <= 1 || n%a.Every == 0) {
			a.fired.Add(1)
			return a
		}
	}
	return nil
}

// StatusWrite matches writes of messages' statuses.
func StatusWrite(r *http.Request) bool {
	return (r.Method == http.MethodPatch || r.Method == http.MethodPut) &&
		strings.Contains(r.URL.Path, "/teamtalkmessages/") && strings.HasSuffix(r.URL.Path, "/status")
}

// Refuse answers as an API server that fails, or that somebody else came before.
func Refuse(code int, reason metav1.StatusReason) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{ // nobody is left to be told
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
			Code: int32(code), Reason: reason, Message: "refused by the fault proxy",
		})
	}
}

// CutBefore closes the connection and passes nothing on.
func CutBefore(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// CutAfter passes the request on, and closes the connection instead of answering.
func CutAfter(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	// What was asked for is done although nobody waits for the answer.
	next.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
	panic(http.ErrAbortHandler)
}

// Hang holds requests until their client is gone, or the proxy stops.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	// Only with the body read does the server notice that the client is gone.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}
