// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// queueAPI is a fakeAPI that shows in which order messages are created.
type queueAPI struct {
	*fakeAPI
	created chan string
}

func (x queueAPI) Create(ctx context.Context, o client.Object, opts ...client.CreateOption) error {
	err := x.fakeAPI.Create(ctx, o, opts...)
	if err == nil {
		x.created <- o.GetName()
	}
	return err
}

// operate delivers the messages of a text as an operator does that takes a time for each, and no others.
func (x queueAPI) operate(t *testing.T, each time.Duration, text string) {
	t.Helper()
	for name := range x.created {
		if m := x.message(t, name); *m.Spec.Content.Text != text {
			continue
		}
		time.Sleep(each)
		m := x.deliver(t, name)
		x.mu.Lock()
		watch := x.watches[0]
		x.mu.Unlock()
		watch.Modify(m)
	}
}

// TestAdmission has callers that send one message after the other for a while. If they are faster than the operator,
// some learn that their message was not recorded, and none that its outcome is unknown.
func TestAdmission(t *testing.T) {
	const lasts = 6 * time.Second
	for name, tc := range map[string]struct {
		callers, perSecond int
		// stuck callers send what is never delivered.
		stuck         int
		wantDelivered int
		wantPending   bool
		wantRefused   bool
	}{
		"64 callers of a slow operator":              {callers: 64, perSecond: 31, wantDelivered: 180},
		"256 callers of a slow operator":             {callers: 256, perSecond: 31, wantDelivered: 180, wantRefused: true},
		"256 callers of a quick operator":            {callers: 256, perSecond: 400, wantDelivered: 2300},
		"without an operator, messages are recorded": {callers: 256, perSecond: 0, wantPending: true},
		"what is never delivered holds up no others": {callers: 4, perSecond: 31, stuck: 64, wantDelivered: 150},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := queueAPI{newAPI(t), make(chan string, 1<<16)}
				s, stop := start(t, x)
				if tc.perSecond > 0 {
					go x.operate(t, time.Second/time.Duration(tc.perSecond), "hello")
				}
				var mu sync.Mutex
				var delivered, pending, refused int
				var callers sync.WaitGroup
				for i := range tc.callers + tc.stuck {
					callers.Go(func() {
						r := request
						r.Wait = 2500 * time.Millisecond
						isStuck := i >= tc.callers
						if isStuck {
							r.Caller, r.Text = "another", "stuck"
						}
						for n, began := 0, time.Now(); time.Since(began) < lasts; n++ {
							r.Key = fmt.Sprint(i, "-", n)
							got, err := s.Send(t.Context(), r)
							mu.Lock()
							switch {
							case err != nil && isStuck:
							case err != nil:
								refused++
							case got.State == api.Delivered:
								delivered++
							case !isStuck:
								pending++
							}
							mu.Unlock()
							if err != nil {
								time.Sleep(time.Second) // Retry-After
							}
						}
					})
				}
				callers.Wait()
				close(x.created)
				stop()
				t.Logf("delivered %d, pending %d, refused %d", delivered, pending, refused)
				if delivered < tc.wantDelivered || tc.perSecond == 0 && delivered > 0 {
					t.Errorf("%d were delivered, want %d", delivered, tc.wantDelivered)
				}
				if pending > 0 != tc.wantPending {
					t.Errorf("%d were answered before their end was known", pending)
				}
				if refused > 0 != tc.wantRefused {
					t.Errorf("%d were refused", refused)
				}
			})
		})
	}
}
