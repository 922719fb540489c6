// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// seriesOf returns the names of the metrics that tell of a receiver.
func seriesOf(t *testing.T, key types.NamespacedName) []string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(received, made, faults, lastError)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
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

// TestSeriesEnd: the series of a receiver that is no more end, whether somebody still
// posts to it or nobody; those of others stay.
func TestSeriesEnd(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	there := types.NamespacedName{Namespace: "chat", Name: "alerts"}
	gone := types.NamespacedName{Namespace: "chat", Name: "gone-since"}
	all := []string{"last_error_timestamp_seconds", "messages_total", "notifications_total", "template_faults_total"}
	synctest.Test(t, func(t *testing.T) {
		c := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&v1alpha1.TeamTalkReceiver{}).WithObjects(alertmanager("")).Build()
		h := NewHandler(Options{Client: c, Log: logr.Discard()})
		begin := func() {
			for _, key := range []types.NamespacedName{there, gone} {
				h.note(key, answer{code: http.StatusServiceUnavailable, cause: "too much at once"})
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
