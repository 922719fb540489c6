// SPDX-License-Identifier: Apache-2.0

package apiproxy

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"
)

// Action is what happens to a request. next passes it on.
type Action func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Rule is a fault and the requests that it concerns.
type Rule = fault.Rule[*http.Request, Action]

// Armed is a rule that was added.
type Armed = fault.Armed[*http.Request, Action]

// Add adds a rule. If several rules match a request, the first one fires.
func (p *Proxy) Add(r Rule) *Armed { return p.rules.Add(r) }

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if a := p.rules.First(r); a != nil {
		a.Do(w, r, p.reverse)
		return
	}
	p.reverse.ServeHTTP(w, r)
}

// StatusWrite matches writes of messages' statuses.
func StatusWrite(r *http.Request) bool {
	return (r.Method == http.MethodPatch || r.Method == http.MethodPut) &&
		strings.Contains(r.URL.Path, "/teamtalkmessages/") && strings.HasSuffix(r.URL.Path, "/status")
}

// Refuse answers with an error, such as a conflict.
func Refuse(code int, reason metav1.StatusReason) Action {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{ // an error has no recipient
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
			Code: int32(code), Reason: reason, Message: "refused by the fault proxy",
		})
	}
}

// CutBefore closes the connection and passes nothing on.
func CutBefore(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// CutAfter passes the request on, and closes the connection instead of answering.
func CutAfter(_ http.ResponseWriter, r *http.Request, next http.Handler) {
	// The request is executed, although its client does not wait.
	next.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithoutCancel(r.Context())))
	panic(http.ErrAbortHandler)
}

// Hang holds requests until their client closes the connection, or the proxy stops.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	// The server notices the end of the client only after it has read the body.
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}
