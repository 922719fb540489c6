// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

const (
	// MaxBody is the longest body, in bytes.
	MaxBody = 1 << 20
	// readTimeout limits the reading of a body.
	readTimeout = 3 * time.Second
)

// tooLarge returns the answer to a body that is too large.
func tooLarge() answer {
	return refuse(http.StatusRequestEntityTooLarge,
		"the body is longer than %d bytes: send fewer alerts at once (Alertmanager's max_alerts)", MaxBody)
}

// readBody reads the body of a request. The answer has no code if it was read.
func (h *Handler) readBody(w http.ResponseWriter, req *http.Request, key types.NamespacedName) ([]byte, answer) {
	if req.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	// If the connection has no deadlines, the server limits it.
	_ = http.NewResponseController(w).SetReadDeadline(h.now().Add(readTimeout))
	read := h.options.ReadBody
	if read == nil {
		read = func(r *http.Request) ([]byte, error) { return io.ReadAll(r.Body) }
	}
	req.Body = http.MaxBytesReader(w, req.Body, MaxBody)
	body, err := read(req)
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge()
	} else if err != nil {
		// Not 408: callers would not retry.
		return nil, h.failed(key, fmt.Errorf("a body was not received completely and in time: %w", err))
	}
	return body, answer{}
}

// acquireBody waits until a body may be decoded. The caller calls release when it does not use the body any more,
// unless there is an error.
func acquireBody(ctx context.Context, receiver types.NamespacedName, body []byte) (release func(), err error) {
	if !notification.IsLarge(body) {
		return func() {}, nil
	}
	return largeBodies.acquire(ctx, receiver)
}
