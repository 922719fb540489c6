package operator

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// BenchmarkIdleLatency measures, one message at a time, from the create request
// to the moment at which a watch shows the message Delivered. It reports the
// median and the 99th percentile in milliseconds.
func BenchmarkIdleLatency(b *testing.B) {
	x := newTenant(b).withServer()
	warm := x.message("warm", "hello")
	x.create(warm)
	x.awaitDelivered(warm)
	w, err := world.admin.Watch(b.Context(), &v1alpha1.TeamTalkMessageList{}, client.InNamespace(x.namespace))
	x.must(err)
	defer w.Stop()

	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		m := x.message(fmt.Sprintf("m-%d", n), "hello")
		began := time.Now()
		x.create(m)
		for !delivered(w, m.Name) {
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
}

// delivered reads one event of the watch.
func delivered(w watch.Interface, name string) bool {
	m, ok := (<-w.ResultChan()).Object.(*v1alpha1.TeamTalkMessage)
	return ok && m.Name == name && meta.IsStatusConditionTrue(m.Status.Conditions, v1alpha1.ConditionDelivered)
}
