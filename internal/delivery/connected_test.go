// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// counting counts how often executors look whether their peer is connected.
type counting struct {
	*talk
	looks *atomic.Int64
}

func (c counting) WaitReady(ctx context.Context) error {
	if ctx.Err() != nil {
		c.looks.Add(1)
	}
	return c.talk.WaitReady(ctx)
}

func (c counting) WaitRouter(ctx context.Context) error {
	if ctx.Err() != nil {
		c.looks.Add(1)
	}
	return c.talk.WaitRouter(ctx)
}

// TestFlappingPeer: a peer whose connections are lost at once wakes few of those that wait for it. All go on when it
// stays.
func TestFlappingPeer(t *testing.T) {
	const n, flaps = 1000, 20
	runEach(t, map[string]func(f *talk, lost bool){
		"db_proxy": func(f *talk, lost bool) { f.down = lost },
		"router":   func(f *talk, lost bool) { f.noRouter = lost },
	}, func(h *harness, set func(f *talk, lost bool)) {
		peer := counting{h.talk, &atomic.Int64{}}
		set(h.talk, true)
		spec := h.task("m", h.many(1000, n)...)
		spec.Server = peer
		h.submit(spec)
		advance(time.Minute)
		peer.looks.Store(0)
		for range flaps {
			h.talk.change(func() { set(h.talk, false) })
			synctest.Wait()
			h.talk.change(func() { set(h.talk, true) })
			advance(time.Second)
		}
		// Each looks when it is woken, and after a failed try.
		if got := peer.looks.Load(); got == 0 || got > 2*flaps*connectedBatch {
			h.t.Errorf("%d looks for %d connections that were lost at once, want at most %d", got, flaps, 2*flaps*connectedBatch)
		}
		h.talk.change(func() { set(h.talk, false) })
		for i, p := range h.await("m", time.Minute).Recipients {
			if !p.Delivered() {
				h.t.Fatalf("recipient %d: %+v", i, p)
			}
		}
	})
}

// replaceable is a session that does not become ready any more once it is replaced.
type replaceable struct {
	*talk
	replaced atomic.Bool
}

func (r *replaceable) WaitReady(ctx context.Context) error {
	return r.wait(ctx, func() bool { return !r.replaced.Load() && !r.down && r.keys.Current != nil })
}

func (r *replaceable) WaitRouter(ctx context.Context) error {
	return r.wait(ctx, func() bool { return !r.replaced.Load() && !r.noRouter })
}

// TestNoWakeIsLost: peers are lost and come back, keys are taken away and given again, and the session is replaced, at
// any moment of those that begin to wait. When all is well, all are delivered. The goroutines run concurrently, so
// there are many rounds.
func TestNoWakeIsLost(t *testing.T) {
	const rounds, messages, recipients = 20, 8, 10
	for range rounds {
		run(t, func(h *harness) {
			session := &replaceable{talk: h.talk}
			submit := func(i int, to ...v1alpha1.Recipient) {
				spec := h.task(fmt.Sprint(i), to...)
				spec.Server, spec.Renewal = session, len(to) == 0
				h.Submit(spec)
			}
			to, keys := h.many(1000, recipients), h.talk.keys
			for i := range messages {
				submit(i, to...)
			}
			changes := []func(){
				func() { h.talk.down = !h.talk.down },
				func() { h.talk.noRouter = !h.talk.noRouter },
				func() { h.talk.keys = [2]cipher.Keys{{}, keys}[rand.N(2)] },
			}
			for range 100 {
				h.talk.change(changes[rand.N(len(changes))])
				for range rand.N(3) {
					runtime.Gosched()
				}
				if rand.N(10) == 0 {
					session.replaced.Store(true)
					session = &replaceable{talk: h.talk}
					for i := range messages {
						submit(i)
					}
					advance(time.Duration(rand.N(100)) * time.Millisecond)
				}
			}
			h.talk.change(func() { h.talk.down, h.talk.noRouter, h.talk.keys = false, false, keys })
			for i := range messages {
				for n, p := range h.await(types.UID(fmt.Sprint(i)), 10*time.Minute).Recipients {
					if !p.Delivered() {
						h.t.Fatalf("message %d, recipient %d: %+v", i, n, p)
					}
				}
			}
		})
	}
}
