// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/types"
)

// answer is the response to a request.
type answer struct {
	code int
	// Messages are the names of those that were created.
	Messages []string `json:"messages,omitempty"`
	// Duplicates counts messages that existed before.
	Duplicates int `json:"duplicates,omitempty"`
	// Suppressed counts messages that are in the digest of at least one recipient.
	Suppressed int `json:"suppressed,omitempty"`
	// Filtered counts alerts, or bodies, that the receiver's filter drops.
	Filtered int    `json:"filtered,omitempty"`
	Error    string `json:"error,omitempty"`
	// cause is the error for the receiver's status. The caller does not get it.
	cause  string
	reason reason
	// form is that of the receiver, if the caller may know it.
	form form
}

func refuse(code int, format string, args ...any) answer {
	return answer{code: code, Error: fmt.Sprintf(format, args...)}
}

// failed returns the answer to a request that the caller must retry.
func (h *Handler) failed(key types.NamespacedName, err error) answer {
	h.options.Log.Info("a request is to be sent again", "receiver", key.String(), "reason", err.Error())
	a := refuse(http.StatusServiceUnavailable, "it cannot be accepted now: try again; the receiver's status says why")
	a.cause = err.Error()
	return a
}

// busy is failed for a caller with too many requests at once.
func (h *Handler) busy(key types.NamespacedName, err error) answer {
	a := h.failed(key, err)
	a.reason = tooFast
	return a
}

// Refuse writes an answer in a Handler's form, for requests that do not reach one: they are over a limit, or the
// handler has panicked.
func Refuse(w http.ResponseWriter, req *http.Request, status int, detail string) {
	a := answer{code: status, Error: detail}
	if status == http.StatusServiceUnavailable {
		a.reason = tooFast
	}
	a.write(w, req)
}

func (a answer) write(w http.ResponseWriter, req *http.Request) {
	switch a.code {
	case http.StatusUnauthorized:
		if isSigned(req) && a.reason == byStatus {
			a.reason = invalidSignature
		}
		// Some clients send a password only after a challenge.
		w.Header()["Www-Authenticate"] = []string{`Bearer realm="teamtalk"`, `Basic realm="teamtalk", charset="UTF-8"`}
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	if a.form == nil {
		a.form = formFor(req)
	}
	contentType, body := a.form(a)
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(a.code)
	_, _ = w.Write(body) // a disconnected caller sends it again
}
