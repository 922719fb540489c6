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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
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
		"no connection":            {errors.New("connection refused"), false},
		"canceled":                 {context.Canceled, false},
	} {
		if got := isRefused(tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// TestStatusRefused: a status that the API server refuses is tried again with backoff, and recorded once it accepts it.
func TestStatusRefused(t *testing.T) {
	m := expired()
	r := newReconciler(t, m, 0)
	refuse := true
	api := r.Client.(client.WithWatch)
	r.Client = interceptor.NewClient(api, interceptor.Funcs{
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, o client.Object, opts ...client.SubResourceUpdateOption) error {
			if refuse {
				return tooLarge
			}
			return c.SubResource(sub).Update(ctx, o, opts...)
		},
	})
	counted := 0
	r.OnStatusRefused = func(types.NamespacedName) { counted++ }
	key := client.ObjectKeyFromObject(m)
	var delays []time.Duration
	for range 12 {
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil {
			t.Fatal(err)
		}
		delays = append(delays, result.RequeueAfter)
	}
	if delays[0] != time.Second || delays[3] != 8*time.Second || delays[11] != 5*time.Minute || counted != 12 {
		t.Errorf("retried after %v, counted %d", delays, counted)
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
