// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// gateway is a running gateway process.
type gateway struct {
	*framework.Process
	// address is where it takes requests of those who have caller's token.
	address, metrics, caller string
}

// startGateway starts a gateway that serves its metrics as in a pod: by TLS, to those permitted.
func startGateway(ctx context.Context) *gateway {
	const user = "gateway"
	framework.Must(framework.BindGateway(ctx, world.Admin, user))
	kubeconfig := framework.MustGet(world.KubeconfigOf(user))
	addresses := framework.MustGet(framework.FreeAddresses(2))
	g := &gateway{address: addresses[0], metrics: addresses[1]}
	g.caller = framework.MustGet(framework.Token(ctx, world.Admin, namespace, "caller"))
	framework.Must(framework.LetCreateMessages(ctx, world.Admin, namespace, "caller"))
	g.Process = framework.MustGet(framework.Start(world.Binary, &world.Log, "gateway", "--kubeconfig", kubeconfig, "--namespace", namespace,
		"--bind-address", g.address, "--health-probe-bind-address", "0",
		"--metrics-bind-address", strings.TrimPrefix(g.metrics, "127.0.0.1")))
	world.Cleanup(g.Kill)
	framework.Must(g.AwaitOK(ctx, "http://"+g.address+"/readyz"))
	return g
}

// post posts a body with the caller's token, or without, and decodes the answer.
func (p *prometheus) post(path, body string, known bool) (status int, reply struct {
	Messages   []string
	Suppressed int
}) {
	p.Helper()
	var headers []string
	if known {
		headers = []string{"Authorization", "Bearer " + world.gateway.caller}
	}
	answer, text, err := framework.Ask(p.Context(), world.client, http.MethodPost, "http://"+world.gateway.address+path, body, headers...)
	p.Must(err)
	if err := json.Unmarshal([]byte(text), &reply); err != nil {
		p.Fatalf("%s answers with %d and no JSON: %v", path, answer.StatusCode, err)
	}
	return answer.StatusCode, reply
}

// notify posts an alert to a receiver.
func (p *prometheus) notify(receiver, alert string) (status int, made, suppressed float64) {
	p.Helper()
	status, answer := p.post("/v1/receivers/"+namespace+"/"+receiver, fmt.Sprintf(`{"version":"4","status":"firing","groupKey":%q,
		"alerts":[{"status":"firing","labels":{"alertname":%[1]q},"annotations":{"summary":%q},"startsAt":"2026-11-23T12:00:00Z"}]}`, alert, text), true)
	return status, float64(len(answer.Messages)), float64(answer.Suppressed)
}

// seesTheGateway compares the metrics of a gateway and its receivers with what callers were answered.
func (p *prometheus) seesTheGateway() {
	p.Helper()
	create := func(name string, edit func(*v1alpha1.TeamTalkReceiverSpec)) *v1alpha1.TeamTalkReceiver {
		r := &v1alpha1.TeamTalkReceiver{
			ObjectMeta: p.Named(name),
			Spec: v1alpha1.TeamTalkReceiverSpec{
				Type: v1alpha1.ReceiverAlertmanager, To: v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{3}},
			},
		}
		edit(&r.Spec)
		p.Create(r)
		return r
	}
	create("flooded", func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.FloodControl = &v1alpha1.FloodControl{Messages: 1, WindowSeconds: 3600}
	})
	create("faulty", func(s *v1alpha1.TeamTalkReceiverSpec) { s.Template = `{{ fail "no" }}` })
	create("choosy", func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.Filter, s.DedupKey = `payload.labels.alertname != "Unwanted"`, `string(payload.values.A)`
	})
	locked := create("locked", func(s *v1alpha1.TeamTalkReceiverSpec) {
		s.Authentication = &v1alpha1.ReceiverAuthentication{TokenSecretRef: &v1alpha1.TokenSecretRef{Name: "not-yet"}}
	})

	const send = `{"from_user_id": 1, "session_id": 3, "msg": "` + text + `"}`
	for known, want := range map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized} {
		if status, _ := p.post("/query/SendSingleMessage", send, known); status != want {
			p.Errorf("a message is answered with %d, want %d", status, want)
		}
	}
	var made, suppressed float64
	for i := range 3 {
		status, m, f := p.notify("flooded", fmt.Sprint("Flood", i))
		if made, suppressed = made+m, suppressed+f; status != http.StatusOK {
			p.Errorf("an alert is answered with %d", status)
		}
	}
	if suppressed == 0 {
		p.Error("nothing was suppressed")
	}
	answered := func(receiver, alert string, want int) {
		p.Helper()
		if status, _, _ := p.notify(receiver, alert); status != want {
			p.Errorf("the alert %s is answered with %d, want %d", alert, status, want)
		}
	}
	answered("faulty", "TemplateFails", http.StatusOK)
	answered("choosy", "Unwanted", http.StatusOK)
	answered("choosy", "WithoutValues", http.StatusOK)
	answered("locked", "NoSecret", http.StatusServiceUnavailable)
	p.CreateSecret("not-yet", map[string]string{"token": "swordfish"})
	answered("locked", "NotTheToken", http.StatusUnauthorized)

	of := func(metric, receiver, more string) string {
		return fmt.Sprintf(`teamtalk_receiver_%s{receiver_namespace=%q, receiver=%q%s}`, metric, namespace, receiver, more)
	}
	for expr, want := range map[string]float64{
		`teamtalk_gateway_requests_total{operation="SendSingleMessage", status="200", error_code="0"}`: 1,
		`teamtalk_gateway_requests_total{operation="SendSingleMessage", status="401"}`:                 1,
		`teamtalk_gateway_requests_total{operation="Receiver", status="200"}`:                          6,
		`teamtalk_gateway_requests_total{operation="Receiver", status="503"}`:                          1,
		`teamtalk_gateway_request_duration_seconds_count{operation="SendSingleMessage"}`:               2,
		`teamtalk_receiver_request_duration_seconds_count{code="200"}`:                                 6,
		of("notifications_total", "flooded", `, result="taken"`):                                       3,
		of("notifications_total", "locked", `, result="failed"`):                                       1,
		of("notifications_total", "locked", `, result="refused", reason="unauthenticated"`):            1,
		of("messages_total", "flooded", `, result="message"`):                                          made,
		of("messages_total", "flooded", `, result="suppressed"`):                                       suppressed,
		of("template_faults_total", "faulty", ""):                                                      1,
		of("messages_total", "choosy", `, result="filtered"`):                                          1,
		of("messages_total", "choosy", `, result="message"`):                                           1,
		of("expression_faults_total", "choosy", `, expression="dedupKey"`):                             1,
		of("expression_faults_total", "choosy", `, expression="filter"`):                               0,
		of("template_faults_total", "flooded", ""):                                                     0,
	} {
		p.await(expr, want)
	}
	p.await("count("+of("last_error_timestamp_seconds", "faulty", "")+")", 1)
	// It has authenticated no caller: unauthenticated ones write no status.
	p.await("count("+of("last_error_timestamp_seconds", "locked", "")+") or vector(0)", 0)
	p.await(`count(ALERTS{alertname="TeamTalkReceiverTemplateFaults", receiver="faulty", alertstate="firing"})`, 1)

	p.await(`count(ALERTS{alertname="TeamTalkReceiverExpressionFaults", receiver="choosy", alertstate="firing"})`, 1)

	p.Delete(locked)
	answered("locked", "Gone", http.StatusNotFound)
	p.await(`count({__name__=~"teamtalk_receiver_.+", receiver="locked"}) or vector(0)`, 0)
}

// areDocumented compares docs/how-to/operations.md with the metrics exposed; internal/metrics does for deliveries.
func (p *prometheus) areDocumented() {
	p.Helper()
	page, err := os.ReadFile(filepath.Join(world.Root, "docs", "how-to", "operations.md"))
	p.Must(err)
	documented := map[string]bool{"teamtalk_operator_build_info": strings.Contains(string(page), "`teamtalk_operator_build_info`")}
	for _, row := range regexp.MustCompile("(?m)^\\| `(teamtalk_[a-z_]+)`").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = true
	}
	exposed := map[string]bool{}
	for _, name := range p.metrics() {
		if name = regexp.MustCompile("_(bucket|sum|count)$").ReplaceAllString(name, ""); strings.HasPrefix(name, "teamtalk_") {
			if exposed[name] = true; !documented[name] {
				p.Errorf("%s is not in docs/how-to/operations.md", name)
			}
		}
	}
	for name := range documented {
		if !exposed[name] && !strings.HasPrefix(name, "teamtalk_operator_") {
			p.Errorf("docs/how-to/operations.md has a metric %s that there is none of", name)
		}
	}
}
