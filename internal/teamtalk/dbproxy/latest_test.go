// SPDX-License-Identifier: Apache-2.0

package dbproxy

import (
	"testing"
	"testing/synctest"
)

// TestSendLatest builds a message once it has its place among those in flight; one
// that there is none of any more gives the place to the next.
func TestSendLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := run(t, Options{Connections: 1, Limiter: NewLimiter(1, 1)})
		server := <-h.peers
		first := h.sendAsync(t.Context(), message(2))
		builds := 0
		latest := func(there bool) <-chan result[uint32] {
			m := message(3)
			return async(func() (uint32, error) {
				return h.SendLatest(t.Context(), t.Context(), m.Type, func() (Message, bool) {
					builds++
					return m, there
				})
			})
		}
		none, second := latest(false), latest(true)
		req := server.next()
		if builds != 0 {
			t.Error("built before its turn")
		}
		server.stored(req, 5)
		want(t, "first", <-first, 5)
		want(t, "none", <-none, 0, ErrNotSent)
		server.stored(server.next(), 6)
		want(t, "second", <-second, 6)
		if builds != 2 {
			t.Errorf("built %d times, want each once", builds)
		}
		h.stop()
	})
}
