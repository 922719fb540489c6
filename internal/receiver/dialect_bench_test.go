// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// benchBodies are what BenchmarkPost posts, with a text of about so many bytes.
func benchBodies(size int) map[string]string {
	quoted := func(line string) string {
		text, _ := json.Marshal(strings.Repeat(line, max(1, size/len(line))))
		return string(text)
	}
	markdown := quoted("- **Disk** of `db-1` is [93% full](https://grafana.example.com/d/1) since 12:00, see the runbook, and tell the others on call\n")
	plain := quoted("- Disk of db-1 is 93% full https://grafana.example.com/d/1 since 12:00, see the runbook, and tell the others on call too\n")
	mrkdwn := quoted("• *Disk* of `db-1` is <https://grafana.example.com/d/1|93% full> since 12:00, see the runbook, and tell the others on call\n")
	var alerts []string
	for i := range max(1, size/450) {
		alerts = append(alerts, fmt.Sprintf(`{"status":"firing","labels":{"alertname":"DiskFull","instance":"db-%d","severity":"critical"},`+
			`"annotations":{"summary":"Disk of db-%d is 93%% full"},"startsAt":"2026-03-01T16:05:00Z","endsAt":"0001-01-01T00:00:00Z",`+
			`"fingerprint":"%016d","values":{"A":93.5,"C":1},"silenceURL":"https://grafana.example.com/alerting/silence/new?id=%d",`+
			`"panelURL":"https://grafana.example.com/d/1?viewPanel=%d"}`, i, i, i, i, i))
	}
	return map[string]string{
		"generic":  `{"title":"DiskFull","state":"firing","message":` + plain + `}`,
		"dingtalk": `{"msgtype":"markdown","markdown":{"title":"DiskFull","text":` + markdown + `}}`,
		"wecom":    `{"msgtype":"markdown","markdown":{"content":` + markdown + `}}`,
		"feishu":   `{"msg_type":"interactive","card":{"header":{"title":{"tag":"plain_text","content":"DiskFull"}},"elements":[{"tag":"markdown","content":` + markdown + `}]}}`,
		"slack":    `{"attachments":[{"title":"DiskFull","title_link":"https://alertmanager.example.com","text":` + mrkdwn + `}]}`,
		"grafana":  `{"status":"firing","orgId":1,"groupKey":"{}","externalURL":"https://grafana.example.com/","alerts":[` + strings.Join(alerts, ",") + `]}`,
	}
}

// BenchmarkPost measures what the gateway computes for a post of each type: all of a request, and of those to the API,
// but neither the network nor the API server.
func BenchmarkPost(b *testing.B) {
	for _, size := range []int{1 << 10, 6 << 10} {
		for _, name := range []string{"generic", "slack", "dingtalk", "wecom", "feishu", "grafana"} {
			b.Run(fmt.Sprintf("%s-%dKiB", name, size>>10), func(b *testing.B) {
				p := newPosts(b)
				options := p.handler.options
				options.Client = newCannedAPI(b, p, name)
				p.handler = NewHandler(options)
				body := benchBodies(size)[name]
				b.ReportAllocs()
				before := cpuTime(b)
				for b.Loop() {
					if w := p.post(name, "secret", body); w.Code != http.StatusOK {
						b.Fatalf("%d %s", w.Code, w.Body)
					}
				}
				b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
			})
		}
	}
}

// cpuTime returns the CPU time of the process. Other than the time that a benchmark takes, it hardly depends on what
// else the machine does.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// cannedAPI is a transport that answers as an API server that has a receiver and its Secret, and no messages.
type cannedAPI struct{ receiver, secret []byte }

// newCannedAPI returns a client whose API has the receiver of a name.
func newCannedAPI(b *testing.B, p *posts, name string) client.WithWatch {
	b.Helper()
	encoded := func(o client.Object, key string, kind schema.GroupVersionKind) []byte {
		must(b, p.client.Get(b.Context(), client.ObjectKey{Namespace: "chat", Name: key}, o))
		o.GetObjectKind().SetGroupVersionKind(kind)
		text, err := json.Marshal(o)
		must(b, err)
		return text
	}
	receivers, secrets := v1alpha1.GroupVersion.WithKind("TeamTalkReceiver"), corev1.SchemeGroupVersion.WithKind("Secret")
	messages := v1alpha1.GroupVersion.WithKind("TeamTalkMessage")
	api := &cannedAPI{
		receiver: encoded(&v1alpha1.TeamTalkReceiver{}, name, receivers),
		secret:   encoded(&corev1.Secret{}, "token", secrets),
	}
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []schema.GroupVersionKind{receivers, secrets, messages} {
		mapper.Add(kind, meta.RESTScopeNamespace)
	}
	c, err := client.NewWithWatch(&rest.Config{Host: "http://api.example", Transport: api, QPS: -1}, client.Options{
		Scheme: p.client.Scheme(), Mapper: mapper,
	})
	must(b, err)
	return c
}

// RoundTrip implements http.RoundTripper.
func (a *cannedAPI) RoundTrip(req *http.Request) (*http.Response, error) {
	body, code := []byte(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[]}`), http.StatusOK
	switch {
	case req.Method == http.MethodPost:
		posted, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body, code = posted, http.StatusCreated
	case strings.Contains(req.URL.Path, "/teamtalkreceivers/"):
		body = a.receiver
	case strings.Contains(req.URL.Path, "/secrets/"):
		body = a.secret
	}
	return &http.Response{
		StatusCode: code, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}
