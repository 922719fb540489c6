// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/dbproxy"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// queued is a TeamTalk whose requests wait before they are sent.
type queued struct {
	*talk
	wait func()
}

func (q *queued) Send(
	ctx, waiting context.Context, kind wire.MsgType, build func() (dbproxy.Message, bool), late func(),
) (uint32, error) {
	q.wait()
	return q.talk.Send(ctx, waiting, kind, build, late)
}

// TestBuiltWhenSent: a message that was queued has the key and the time of the moment at which it is sent.
func TestBuiltWhenSent(t *testing.T) {
	run(t, func(h *harness) {
		was, is := key(t, 1), key(t, 2)
		spec := h.task("m", toAlice)
		spec.Server = &queued{h.talk, func() {
			<-time.After(time.Minute)
			h.talk.change(func() { h.talk.keys = cipher.Keys{Current: is, Previous: []*cipher.Cipher{was}} })
		}}
		h.submit(spec)
		wantProgress(t, h.await("m", 5*time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
		sent := h.talk.sends[0]
		if p, err := is.Decrypt(sent.Data); err != nil || string(p.Text) != "hello m" {
			t.Errorf("sent under a key that was replaced: %v", err)
		}
		if int64(sent.CreateTime) != sent.at.Unix() {
			t.Errorf("its time is %v before it was sent", sent.at.Sub(time.Unix(int64(sent.CreateTime), 0)))
		}
	})
}

// TestKeyGoneWhileQueued: a message without a key is not sent before there is one.
func TestKeyGoneWhileQueued(t *testing.T) {
	run(t, func(h *harness) {
		first := true
		spec := h.task("m", toAlice)
		spec.Server = &queued{h.talk, func() {
			if first {
				first = false
				h.talk.change(func() { h.talk.keys = cipher.Keys{} })
			}
		}}
		h.submit(spec)
		advance(time.Minute)
		wantProgress(t, h.first("m"), v1alpha1.StatePending, v1alpha1.ReasonServerNotReady)
		h.wantCounts(0, 0, 0)
		h.talk.change(func() { h.talk.keys = cipher.Keys{Current: key(t, 2)} })
		wantProgress(t, h.await("m", time.Minute).Recipients[0], v1alpha1.StateRouted, "")
		h.wantCounts(1, 1, 1)
	})
}
