// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestStatusesAreWrittenNowAndThen shows that many notes are one write, that what
// cannot be written is not lost, and that what is left is written at the end.
func TestStatusesAreWrittenNowAndThen(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int32
	var broken atomic.Bool
	c := interceptor.NewClient(
		fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.TeamTalkReceiver{}).WithObjects(alertmanager("")).Build(),
		interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			if broken.Load() {
				return errors.New("the API is gone")
			}
			writes.Add(1)
			return c.SubResource(sub).Patch(ctx, o, p, opts...)
		}})
	h := NewHandler(Options{Client: c, Log: logr.Discard()})
	// The API keeps whole seconds.
	h.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	key := types.NamespacedName{Namespace: "chat", Name: "alerts"}
	status := func() v1alpha1.TeamTalkReceiverStatus {
		t.Helper()
		r := &v1alpha1.TeamTalkReceiver{}
		if err := c.Get(t.Context(), key, r); err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	for range 1000 {
		h.note(key, answer{code: http.StatusOK, Messages: []string{"alerts-x-1"}, Folded: 1})
	}
	h.note(types.NamespacedName{Namespace: "chat", Name: "gone"}, answer{code: http.StatusOK})
	h.status.flush(t.Context())
	if s := status(); s.Counts.Received != 1000 || s.Counts.Messages != 1000 || s.Counts.Folded != 1000 || s.LastMessage != "alerts-x-1" || writes.Load() != 1 {
		t.Errorf("%+v, %d writes", s, writes.Load())
	}
	h.status.flush(t.Context())
	if writes.Load() != 1 || len(h.status.pending) != 0 {
		t.Errorf("%d writes, %d pending", writes.Load(), len(h.status.pending))
	}

	broken.Store(true)
	h.note(key, answer{code: http.StatusUnauthorized, Error: strings.Repeat("é", 1000)})
	h.status.flush(t.Context())
	h.note(key, answer{code: http.StatusServiceUnavailable, cause: "later"})
	h.note(key, answer{code: http.StatusOK, Duplicates: 2})
	h.status.flush(t.Context())
	broken.Store(false)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := h.Start(ended); err != nil {
		t.Error(err)
	}
	s := status()
	want := v1alpha1.ReceiverCounts{Received: 1001, Messages: 1000, Folded: 1000, Duplicates: 2, Refused: 1, Failed: 1}
	if s.Counts != want || s.LastError == nil || len([]rune(s.LastError.Message)) > maxError || writes.Load() != 2 {
		t.Errorf("%+v, %d writes", s, writes.Load())
	}
}
