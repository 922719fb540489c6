// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// fakeAPI is an API server whose watches the test controls.
type fakeAPI struct {
	client.WithWatch
	mu      sync.Mutex
	watches []*apiwatch.RaceFreeFakeWatcher
}

func newAPI(t *testing.T) *fakeAPI {
	t.Helper()
	x := &fakeAPI{}
	x.WithWatch = newClient(t, interceptor.Funcs{
		List: func(_ context.Context, _ client.WithWatch, list client.ObjectList, _ ...client.ListOption) error {
			list.SetResourceVersion("1")
			return nil
		},
		Watch: func(ctx context.Context, _ client.WithWatch, _ client.ObjectList, _ ...client.ListOption) (apiwatch.Interface, error) {
			w := apiwatch.NewRaceFreeFake()
			context.AfterFunc(ctx, w.Stop)
			x.mu.Lock()
			defer x.mu.Unlock()
			x.watches = append(x.watches, w)
			return w, nil
		},
	})
	return x
}

// message returns a message as it is recorded.
func (x *fakeAPI) message(t *testing.T, name string) *v1alpha1.TeamTalkMessage {
	t.Helper()
	m := &v1alpha1.TeamTalkMessage{}
	if err := x.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: name}, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// deliver sets the status that the operator sets after a delivery, and returns the message.
func (x *fakeAPI) deliver(t *testing.T, name string) *v1alpha1.TeamTalkMessage {
	t.Helper()
	m := x.message(t, name)
	m.Status.ObservedGeneration = 1
	for _, kind := range []string{v1alpha1.ConditionFinished, v1alpha1.ConditionDelivered, v1alpha1.ConditionReady} {
		m.Status.Conditions = append(m.Status.Conditions, metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: "Delivered"})
	}
	m.Status.Recipients = []v1alpha1.RecipientStatus{
		{Type: v1alpha1.RecipientUser, ID: 2, State: v1alpha1.StateRouted, MessageIDs: []int64{18}},
	}
	if err := x.Status().Update(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// start runs a Sender. stop ends it and waits.
func start(t *testing.T, x client.WithWatch) (s *Sender, stop func()) {
	t.Helper()
	s = New(x, 0, logr.Discard())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestWait: a waiting request gets the result, even if the watch was interrupted meanwhile. Then its message is not
// kept in memory.
func TestWait(t *testing.T) {
	for name, lost := range map[string]bool{"with the watch": false, "after the watch was lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newAPI(t)
				s, stop := start(t, x)
				go func() {
					synctest.Wait() // Send waits
					m := x.deliver(t, nameOf(request, 1))
					if lost {
						x.watches[0].Error(&metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: 410})
					} else {
						x.watches[0].Modify(m)
					}
				}()
				got, err := s.Send(t.Context(), request)
				if err != nil || got.State != api.Delivered || len(got.Recipients) != 1 || got.Recipients[0].MessageID != 18 {
					t.Errorf("%+v, %v", got, err)
				}
				watch, release, err := s.watches.Acquire("chat")
				if err != nil {
					t.Fatal(err)
				}
				release()
				if kept := watch.waiters; len(kept) != 0 {
					t.Errorf("kept: %v", kept)
				}
				stop()
			})
		})
	}
}

// TestTimeout: a request whose wait ends gets the current state of the message.
func TestTimeout(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*testing.T, *fakeAPI, *v1alpha1.TeamTalkMessage)
		want      api.State
		message   string
	}{
		"not processed": {
			func(*testing.T, *fakeAPI, *v1alpha1.TeamTalkMessage) {}, api.Pending, "has not processed it yet"},
		"finished, and the watch is late": {func(t *testing.T, x *fakeAPI, m *v1alpha1.TeamTalkMessage) {
			x.deliver(t, m.Name)
		}, api.Delivered, ""},
		"waits for something": {func(t *testing.T, x *fakeAPI, m *v1alpha1.TeamTalkMessage) {
			m.Status.ObservedGeneration = 1
			m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse,
				Reason: v1alpha1.ReasonServerNotReady, Message: "no connection"}}
			if err := x.Status().Update(t.Context(), m); err != nil {
				t.Error(err)
			}
		}, api.Pending, "no connection"},
		"deleted": {func(t *testing.T, x *fakeAPI, m *v1alpha1.TeamTalkMessage) {
			if err := x.Delete(t.Context(), m); err != nil {
				t.Error(err)
			}
		}, api.Unknown, "deleted before it had finished"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newAPI(t)
				s, stop := start(t, x)
				go func() {
					synctest.Wait() // Send waits
					m := &v1alpha1.TeamTalkMessage{}
					if err := x.Get(t.Context(), client.ObjectKey{Namespace: "chat", Name: nameOf(request, 1)}, m); err != nil {
						t.Error(err)
					}
					c.meanwhile(t, x, m)
				}()
				got, err := s.Send(t.Context(), request)
				if err != nil || got.State != c.want || !strings.Contains(got.Cause.Message, c.message) {
					t.Errorf("%+v, %v", got, err)
				}
				stop()
			})
		})
	}
}
