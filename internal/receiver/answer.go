// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"encoding/json"
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
	// cause is what the receiver's status says of a failure. The caller does not get it.
	cause string
}

func refuse(code int, format string, args ...any) answer {
	return answer{code: code, Error: fmt.Sprintf(format, args...)}
}

// failed returns the answer to a request that the caller is to retry.
func (h *Handler) failed(key types.NamespacedName, err error) answer {
	h.options.Log.Info("a request is to be sent again", "receiver", key.String(), "reason", err.Error())
	a := refuse(http.StatusServiceUnavailable, "it cannot be taken now: try again; the receiver's status says why")
	a.cause = err.Error()
	return a
}

// Refuse writes an answer in a Handler's form, for requests that do not reach one.
func Refuse(w http.ResponseWriter, status int, detail string) {
	answer{code: status, Error: detail}.write(w)
}

func (a answer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	switch a.code {
	case http.StatusUnauthorized:
		// Some clients send a password only if they are asked for it.
		w.Header()["Www-Authenticate"] = []string{`Bearer realm="teamtalk"`, `Basic realm="teamtalk", charset="UTF-8"`}
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(a.code)
	_ = json.NewEncoder(w).Encode(a) // a caller that is gone sends it again
}
