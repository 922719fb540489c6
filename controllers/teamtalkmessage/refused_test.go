// SPDX-License-Identifier: Apache-2.0

package teamtalkmessage

import (
	"context"
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// tooLarge is how the API server passes on that etcd refuses an object.
var tooLarge = &apierrors.StatusError{ErrStatus: metav1.Status{
	Status: metav1.StatusFailure, Code: 500, Message: "etcdserver: request is too large",
}}

func TestIsRefused(t *testing.T) {
	messages := schema.GroupResource{Group: "teamtalk.io", Resource: "teamtalkmessages"}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"too large for etcd":       {tooLarge, true},
		"too large for a request":  {apierrors.NewRequestEntityTooLargeError("limit is 3145728"), true},
		"a policy":                 {apierrors.NewForbidden(messages, "m", errors.New("denied")), true},
		"a conflict":               {apierrors.NewConflict(messages, "m", errors.New("changed")), false},
		"gone":                     {apierrors.NewNotFound(messages, "m"), false},
		"overloaded":               {apierrors.NewTooManyRequests("later", 1), false},
		"away":                     {apierrors.NewServiceUnavailable("down"), false},
		"too slow":                 {apierrors.NewTimeoutError("slow", 1), false},
		"too slow, for the server": {apierrors.NewServerTimeout(messages, "update", 1), false},
		"invalid":                  {apierrors.NewInvalid(schema.GroupKind{}, "m", nil), true},
		"too large for etcd's client": {apierrors.NewInternalError(errors.New(
			"rpc error: code = ResourceExhausted desc = trying to send message larger than max (2202009 vs. 2097152)")), true},
		"etcd without a leader": {&apierrors.StatusError{ErrStatus: metav1.Status{Code: 500, Message: "etcdserver: leader changed"}}, false},
		"a failing webhook":     {apierrors.NewInternalError(errors.New(`failed calling webhook "policy"`)), false},
		"unauthorized":          {apierrors.NewUnauthorized("expired"), false},
		"no connection":         {errors.New("connection refused"), false},
		"canceled":              {context.Canceled, false},
	} {
		if got := isRefused(tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestStatusRefused: a status that the API server refuses is tried again with backoff, whatever wakes the message
// meanwhile, and recorded once the API server accepts it.
func TestStatusRefused(t *testing.T) {
	m := expired()
	r := newReconciler(t, m, 0)
	clock := clocktesting.NewFakeClock(time.Now())
	r.refused.byUID().Clock = clock
	refuse, tries := true, 0
	api := r.Client.(client.WithWatch)
	r.Client = interceptor.NewClient(api, interceptor.Funcs{
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			tries++
			if refuse {
				return tooLarge
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	counted := 0
	r.OnStatusRefused = func(types.NamespacedName) { counted++ }
	key := client.ObjectKeyFromObject(m)
	reconcileOnce := func() time.Duration {
		t.Helper()
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil {
			t.Fatal(err)
		}
		return result.RequeueAfter
	}
	var delays []time.Duration
	for range 12 {
		delay := reconcileOnce()
		delays = append(delays, delay)
		clock.Step(delay - time.Millisecond)
		for range 3 {
			if again := reconcileOnce(); again != delay {
				t.Errorf("woken in between, tried again after %v, want %v", again, delay)
			}
		}
		clock.Step(time.Millisecond)
	}
	if delays[0] != time.Second || delays[3] != 8*time.Second || delays[11] != 5*time.Minute || counted != 12 || tries != 12 {
		t.Errorf("retried after %v, counted %d, tried %d times", delays, counted, tries)
	}
	refuse = false
	if _, written := look(t, r, m); !written {
		t.Error("not recorded")
	}
	now := &v1alpha1.TeamTalkMessage{}
	if err := api.Get(t.Context(), key, now); err != nil || !now.Finished() {
		t.Errorf("%+v, %v", now.Status, err)
	}
	if _, isFirst := r.refused.add(m.UID); !isFirst {
		t.Error("the backoff goes on after a write")
	}
}

// TestStatusRefusedWaitsAlone: younger messages do not wait for one whose status the API server refuses, although it is
// to be recorded before anything is sent.
func TestStatusRefusedWaitsAlone(t *testing.T) {
	m := finishedMessage(v1alpha1.StateFailed, editText, unfinish)
	r := newReconciler(t, m, 0)
	r.Client = interceptor.NewClient(r.Client.(client.WithWatch), interceptor.Funcs{
		SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
			return apierrors.NewForbidden(schema.GroupResource{}, "m", errors.New("denied by a policy"))
		},
	})
	younger := queueMessage(m)
	younger.Key.Name, younger.UID, younger.Order.Created = "younger", "younger", time.Now()
	r.Engine.Queue.Add(queueMessage(m))
	r.Engine.Queue.Add(younger)
	if _, isWritten := look(t, r, m); isWritten || r.refused.wait(m.UID) == 0 {
		t.Fatal("the status is not refused")
	}
	if !r.Engine.Queue.Admit(younger.UID, m.ServerKey(), 1) {
		t.Error("a younger message waits for it")
	}
}

// TestStatusRefusedInDrain: a drain has a refused status tried once more, without waiting for its backoff.
func TestStatusRefusedInDrain(t *testing.T) {
	m := expired()
	r := newReconciler(t, m, 0)
	woken := make(chan types.NamespacedName, 1)
	r.Engine = delivery.NewEngine(func(key types.NamespacedName) { woken <- key })
	r.Engine.Queue.Add(queueMessage(m))
	tries := 0
	r.Client = interceptor.NewClient(r.Client.(client.WithWatch), interceptor.Funcs{
		SubResourceUpdate: func(context.Context, client.Client, string, client.Object, ...client.SubResourceUpdateOption) error {
			tries++
			return tooLarge
		},
	})
	failed := delivery.Progress{
		Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 3},
		State:     v1alpha1.StateFailed, Reason: v1alpha1.ReasonRecipientNotFound, Message: "user 3 does not exist",
	}
	key := client.ObjectKeyFromObject(m)
	if _, ok := r.Engine.Submit(delivery.Task{Key: key, UID: m.UID, Recipients: []delivery.Progress{failed}}); !ok {
		t.Fatal("not taken on")
	}
	reconcileTwice := func(wantTries int) {
		t.Helper()
		for range 2 {
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil || tries != wantTries {
				t.Fatalf("tried %d times, want %d: %v", tries, wantTries, err)
			}
		}
	}
	reconcileTwice(1)
	unrecorded := make(chan map[types.UID]string)
	go func() {
		listed, err := r.Engine.Drain(t.Context(), time.Hour)
		if err != nil {
			t.Error(err)
		}
		unrecorded <- listed
	}()
	if got := <-woken; got != key {
		t.Errorf("%v is woken", got)
	}
	reconcileTwice(2)
	if listed := <-unrecorded; listed[m.UID] != m.Namespace {
		t.Errorf("unrecorded: %v", listed)
	}
}
