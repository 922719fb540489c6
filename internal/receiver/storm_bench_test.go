// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// apiLatency is how long a request to the API server takes in BenchmarkStorm.
const apiLatency = 3 * time.Millisecond

// measured is a client that counts.
type measured struct {
	client.WithWatch
	requests, writes, bytes, conflicts atomic.Int64
}

func newMeasured(t testing.TB) *measured {
	m := &measured{}
	written := func(o client.Object, err error) error {
		if cm, ok := o.(*corev1.ConfigMap); ok {
			m.writes.Add(1)
			m.bytes.Add(int64(cm.Size()))
			if err != nil {
				m.conflicts.Add(1)
			}
		}
		return err
	}
	before := func(ctx context.Context) {
		m.requests.Add(1)
		select {
		case <-time.After(apiLatency):
		case <-ctx.Done():
		}
	}
	m.WithWatch = interceptor.NewClient(newClient(t), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			before(ctx)
			return c.Get(ctx, key, o, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			before(ctx)
			return c.List(ctx, list, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
			before(ctx)
			o.SetCreationTimestamp(metav1.Now())
			return written(o, c.Create(ctx, o, opts...))
		},
		Update: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.UpdateOption) error {
			before(ctx)
			return written(o, c.Update(ctx, o, opts...))
		},
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			before(ctx)
			return written(o, c.Patch(ctx, o, p, opts...))
		},
	})
	return m
}

// BenchmarkStorm measures flood control when 10 receivers get 1,000 alerts each at once, by two processes.
func BenchmarkStorm(b *testing.B) {
	const receivers, alerts = 10, 1000
	for _, requests := range []int{1, 100, alerts} {
		b.Run(fmt.Sprintf("requests=%d", requests), func(b *testing.B) {
			var calls, writes, bytes, conflicts, failed, peak int64
			for b.Loop() {
				api := newMeasured(b)
				var handlers []*Handler
				for range 2 {
					h := NewHandler(Options{Client: api, Log: logr.Discard()})
					h.index.running.Store(true)
					handlers = append(handlers, h)
				}
				stop := make(chan struct{})
				var sampler sync.WaitGroup
				sampler.Go(func() {
					for {
						var m runtime.MemStats
						runtime.ReadMemStats(&m)
						peak = max(peak, int64(m.HeapAlloc))
						select {
						case <-stop:
							return
						case <-time.After(50 * time.Millisecond):
						}
					}
				})
				var group sync.WaitGroup
				var lost atomic.Int64
				for i := range receivers {
					inFlight := make(chan struct{}, 100)
					r := alertmanager("")
					r.Name = fmt.Sprint("alerts", i)
					r.Spec.GroupBy = []string{"instance"}
					r.Spec.FloodControl = &v1alpha1.FloodControl{Messages: 5, WindowSeconds: 3600}
					r.Spec.DedupWindowSeconds = 300
					for j := range requests {
						group.Go(func() {
							inFlight <- struct{}{}
							defer func() { <-inFlight }()
							each := alerts / requests
							messages := messagesOf(b, r, instances(j*each, each)...)
							h := handlers[j%2]
							for range 10 {
								ctx, cancel := context.WithTimeout(b.Context(), answerTimeout)
								_, err := h.createAll(ctx, r, h.newTexts(r), messages)
								cancel()
								if err == nil {
									return
								}
								lost.Add(1)
							}
							b.Errorf("never taken")
						})
					}
				}
				group.Wait()
				close(stop)
				sampler.Wait()
				list := &corev1.ConfigMapList{}
				calls, writes, bytes, conflicts, failed = calls+api.requests.Load(), writes+api.writes.Load(), bytes+api.bytes.Load(), conflicts+api.conflicts.Load(), failed+lost.Load()
				must(b, api.List(b.Context(), list))
				told := 0
				for _, cm := range list.Items {
					if text := cm.Data["text"]; strings.Contains(cm.Name, "-digest-") {
						var n int
						_, _ = fmt.Sscanf(text, "📦 %d more", &n)
						told += n
					}
				}
				if told != receivers*(alerts-5) {
					b.Errorf("%d in digests", told)
				}
			}
			n := float64(b.N)
			b.ReportMetric(float64(calls)/n, "requests/op")
			b.ReportMetric(float64(writes)/n, "cm-writes/op")
			b.ReportMetric(float64(bytes)/n/1e6, "cm-MB/op")
			b.ReportMetric(float64(conflicts)/n, "conflicts/op")
			b.ReportMetric(float64(failed)/n, "503/op")
			b.ReportMetric(float64(peak)/1e6, "heap-MB")
		})
	}
}
