// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// TestStatusesAreWrittenNowAndThen: many notes are one write, and none is lost.
func TestStatusesAreWrittenNowAndThen(t *testing.T) {
	var writes atomic.Int32
	var broken atomic.Bool
	patch := func(ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
		if broken.Load() {
			return errors.New("the API is gone")
		}
		writes.Add(1)
		return c.SubResource(sub).Patch(ctx, o, p, opts...)
	}
	c := interceptor.NewClient(newClient(t, alertmanager("")), interceptor.Funcs{SubResourcePatch: patch})
	h := NewHandler(Options{Client: c, Log: logr.Discard()})
	// The API keeps whole seconds.
	h.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	key := types.NamespacedName{Namespace: "chat", Name: "alerts"}
	status := func() v1alpha1.TeamTalkReceiverStatus {
		t.Helper()
		r := &v1alpha1.TeamTalkReceiver{}
		must(t, c.Get(t.Context(), key, r))
		return r.Status
	}
	for range 1000 {
		h.record(key, answer{code: http.StatusOK, Messages: []string{"alerts-x-1"}, Suppressed: 1})
	}
	h.record(types.NamespacedName{Namespace: "chat", Name: "gone"}, answer{code: http.StatusOK})
	h.status.flush(t.Context())
	if s := status(); s.Counts.Received != 1000 || s.Counts.Messages != 1000 || s.Counts.Suppressed != 1000 || s.LastMessage != "alerts-x-1" || writes.Load() != 1 {
		t.Errorf("%+v, %d writes", s, writes.Load())
	}
	h.status.flush(t.Context())
	if writes.Load() != 1 || len(h.status.pending) != 0 {
		t.Errorf("%d writes, %d pending", writes.Load(), len(h.status.pending))
	}

	broken.Store(true)
	h.record(key, answer{code: http.StatusUnauthorized, Error: strings.Repeat("é", 1000)})
	h.status.flush(t.Context())
	h.record(key, answer{code: http.StatusServiceUnavailable, cause: "later"})
	h.record(key, answer{code: http.StatusOK, Duplicates: 2})
	h.status.flush(t.Context())
	broken.Store(false)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := h.Start(ended); err != nil {
		t.Error(err)
	}
	s := status()
	want := v1alpha1.ReceiverCounts{Received: 1001, Messages: 1000, Suppressed: 1000, Duplicates: 2, Refused: 1, Failed: 1}
	if s.Counts != want || s.LastError == nil || len([]rune(s.LastError.Message)) > maxError || writes.Load() != 2 {
		t.Errorf("%+v, %d writes", s, writes.Load())
	}
}

// seriesOf returns the names of the metrics that tell of a receiver.
func seriesOf(t *testing.T, key types.NamespacedName) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(received, results, faults, expressionFaults, lastError)
	families, err := registry.Gather()
	must(t, err)
	var names []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["receiver_namespace"] == key.Namespace && labels["receiver"] == key.Name {
				names = append(names, strings.TrimPrefix(f.GetName(), "teamtalk_receiver_"))
			}
		}
	}
	return slices.Compact(names)
}

// TestSeriesEnd: the series of a deleted receiver end, whether or not it is posted to.
func TestSeriesEnd(t *testing.T) {
	there := types.NamespacedName{Namespace: "chat", Name: "alerts"}
	gone := types.NamespacedName{Namespace: "chat", Name: "gone-since"}
	all := []string{"expression_faults_total", "last_error_timestamp_seconds", "messages_total", "notifications_total", "template_faults_total"}
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, alertmanager(""))
		h := NewHandler(Options{Client: c, Log: logr.Discard()})
		begin := func() {
			for _, key := range []types.NamespacedName{there, gone} {
				h.record(key, answer{code: http.StatusServiceUnavailable, cause: "too much at once"})
				if got := seriesOf(t, key); !slices.Equal(got, all) {
					t.Errorf("%s has %v, want %v", key, got, all)
				}
			}
		}
		ended := func(when string) {
			if got := seriesOf(t, gone); got != nil {
				t.Errorf("%s: there still are %v of a receiver that is gone", when, got)
			}
			if got := seriesOf(t, there); !slices.Equal(got, all) {
				t.Errorf("%s: of one that is there, there are %v", when, got)
			}
		}
		begin()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/receivers/chat/gone-since", strings.NewReader("{}"))
		r.SetPathValue("namespace", gone.Namespace)
		r.SetPathValue("name", gone.Name)
		h.ServeHTTP(httptest.NewRecorder(), r)
		ended("after a request")

		begin()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- h.Start(ctx) }()
		time.Sleep(sweepInterval + time.Second)
		ended("after a while")
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	counted.end(there)
}
