// SPDX-License-Identifier: Apache-2.0

package connection

import (
	"context"
	"errors"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// ids are those of scanned rows.
type ids []uint32

func (i *ids) Begin()                { *i = nil }
func (i *ids) Row(row *wire.MsgInfo) { *i = append(*i, row.GetMsgId()) }

// built is a message that is the same whenever it leaves.
func built(m dbproxy.Message) func() (dbproxy.Message, bool) {
	return func() (dbproxy.Message, bool) { return m, true }
}

func send(t *testing.T, s *Session, text string) (uint32, error) {
	m := message(t, text)
	return s.Send(t.Context(), t.Context(), m.Type, built(m))
}

// TestBuiltInItsTurn: what the rate holds back is neither encrypted nor dated yet.
func TestBuiltInItsTurn(t *testing.T) {
	server, h := serve(t), start(t)
	c := config(server)
	c.Rate, c.Burst = 1, 1
	s := h.Ensure(name, c, keys(t))
	h.ready(s)
	if id, err := send(t, s, "first"); err != nil || id == 0 {
		t.Fatalf("id %d: %v", id, err)
	}
	queue, cancel := context.WithCancel(t.Context())
	m, early := message(t, "second"), false
	result := make(chan error, 1)
	go func() {
		_, err := s.Send(t.Context(), queue, m.Type, func() (dbproxy.Message, bool) {
			early = true
			return m, true
		})
		result <- err
	}()
	h.await("the second to wait", func() bool { return s.inFlight.Load() == 1 })
	cancel()
	if err := <-result; !errors.Is(err, dbproxy.ErrNotSent) || early {
		t.Errorf("built before its turn: %v; %v", early, err)
	}
}
