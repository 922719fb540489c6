// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// rules are what a file of Prometheus' rules holds.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// decodeFile decodes a file of the project, of YAML or JSON.
func decodeFile(t *testing.T, into any, path string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(world.Root, path))
	chat(t).Must(err)
	if err := yaml.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program(t, "promtool"), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// TestRules has promtool check the rules and run their unit tests.
func TestRules(t *testing.T) {
	promtool(t, "check", "rules", filepath.Join(world.Root, "config", "prometheus", "rules.yaml"))
	promtool(t, "test", "rules", "rules_test.yaml")
}

// TestPrometheusRule holds the rules for the Prometheus operator equal to the others.
func TestPrometheusRule(t *testing.T) {
	var plain, spec any
	var wrapped struct {
		APIVersion, Kind string
		Spec             any
	}
	decodeFile(t, &plain, "config/prometheus/rules.yaml")
	decodeFile(t, &wrapped, "config/prometheus/prometheusrule.yaml")
	if spec = wrapped.Spec; wrapped.APIVersion != "monitoring.coreos.com/v1" || wrapped.Kind != "PrometheusRule" {
		t.Errorf("a %s %s is no PrometheusRule", wrapped.APIVersion, wrapped.Kind)
	}
	if diff := cmp.Diff(plain, spec); diff != "" {
		t.Errorf("rules.yaml and prometheusrule.yaml differ:\n%s", diff)
	}
}

// TestAlerts checks the parts of each alert, that a unit test has it fire, and that it has a runbook.
func TestAlerts(t *testing.T) {
	var all rules
	decodeFile(t, &all, "config/prometheus/rules.yaml")
	var tests struct {
		Tests []struct {
			Cases []struct {
				Name string `json:"alertname"`
				Want []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	decodeFile(t, &tests, "test/observability/rules_test.yaml")
	fired := map[string]bool{}
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			fired[c.Name] = fired[c.Name] || len(c.Want) > 0
		}
	}
	page, err := os.ReadFile(filepath.Join(world.Root, "docs", "how-to", "operations.md"))
	chat(t).Must(err)
	headings := strings.Split(string(page), "\n")
	const runbook = "https://github.com/teamtalk-io/teamtalk-operator/blob/main/docs/how-to/operations.md#"
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			if !fired[r.Alert] {
				t.Errorf("%s: no unit test makes it fire", r.Alert)
			}
			if !slices.Contains([]string{"critical", "warning"}, r.Labels["severity"]) {
				t.Errorf("%s: severity %q", r.Alert, r.Labels["severity"])
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: lacks a summary or a description", r.Alert)
			}
			if want := runbook + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
				t.Errorf("%s: runbook_url %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
			}
			if !slices.Contains(headings, "### "+r.Alert) {
				t.Errorf("%s: docs/how-to/operations.md has no heading of this name", r.Alert)
			}
		}
	}
}

// expressions returns all of the rules and the dashboard, by where they are.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	var all rules
	decodeFile(t, &all, "config/prometheus/rules.yaml")
	for _, g := range all.Groups {
		for _, r := range g.Rules {
			found["alert "+r.Alert] = r.Expr
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ RefID, Expr string }
		}
	}
	decodeFile(t, &dashboard, "dashboards/teamtalk-operator.json")
	variables := strings.NewReplacer("$server_namespace", ".*", "$server", ".*", "$__rate_interval", "5m")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			found["panel "+p.Title+" "+target.RefID] = variables.Replace(target.Expr)
		}
	}
	return found
}

// program returns where a program of Debian's package prometheus is.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not here: install it, on Debian with \"apt-get install prometheus\"", name)
	}
	return path
}

// prometheus is a running Prometheus.
type prometheus struct {
	*framework.Tenant
	url string
}

// startPrometheus starts a Prometheus that scrapes both operators and the gateway as the
// service account does that may, and evaluates the project's rules. The targets have the
// labels that they get from a ServiceMonitor.
func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	p, binary, dir := &prometheus{Tenant: chat(t)}, program(t, "prometheus"), t.TempDir()
	addresses, err := framework.FreeAddresses(1)
	p.Must(err)
	p.url = "http://" + addresses[0]
	token, config := filepath.Join(dir, "token"), filepath.Join(dir, "prometheus.yaml")
	text := fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
- job_name: teamtalk-operator
  scheme: https
  tls_config: {ca_file: %q}
  authorization: {credentials_file: %q}
  static_configs:
  - {targets: [%q], labels: {pod: a, service: operator, container: manager, namespace: im, endpoint: metrics}}
  - {targets: [%q], labels: {pod: b, service: operator, container: manager, namespace: im, endpoint: metrics}}
- job_name: teamtalk-gateway
  scheme: https
  tls_config: {insecure_skip_verify: true} # it makes its certificate itself
  authorization: {credentials_file: %q}
  static_configs:
  - {targets: [%q], labels: {pod: c, service: gateway, container: gateway, namespace: im, endpoint: metrics}}
`, filepath.Join(world.Root, "config", "prometheus", "rules.yaml"),
		filepath.Join(world.certs, "tls.crt"), token, world.leader.metrics, world.standby.metrics, token, world.gateway.metrics)
	for path, text := range map[string]string{token: world.scraper, config: text} {
		p.Must(os.WriteFile(path, []byte(text), 0o600))
	}
	var log framework.Log
	process, err := framework.Start(binary, &log, "--config.file="+config, "--web.listen-address="+addresses[0],
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=warn")
	p.Must(err)
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", log.String())
		}
	})
	return p
}

// api asks Prometheus' API, and decodes the data of its answer.
func (p *prometheus) api(path string, query url.Values, data any) error {
	_, body, err := get(p.Context(), p.url+"/api/v1/"+path+"?"+query.Encode(), "")
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          json.RawMessage
	}{}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return fmt.Errorf("Prometheus said %q: %w", body, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("Prometheus said: %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// sample is one series of a query's answer.
type sample struct {
	Metric map[string]string
	Value  []any
}

func (s sample) value() float64 {
	text, _ := s.Value[1].(string)
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return -1
	}
	return v
}

func (p *prometheus) query(expr string) ([]sample, error) {
	var data struct{ Result []sample }
	err := p.api("query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// awaitResult waits until Prometheus answers a query as wanted.
func (p *prometheus) awaitResult(expr, want string, is func([]sample) bool) []sample {
	p.Helper()
	var got []sample
	var last error
	p.EventuallySeen(func() string { return fmt.Sprintf("%s is %v (%v), want %s", expr, got, last, want) }, func() bool {
		got, last = p.query(expr)
		return last == nil && is(got)
	})
	return got
}

// now returns what Prometheus answers to a query of a sum; none is 0. It asks until all
// targets were scraped the last time: on a loaded machine one is not, and its series are
// away for a moment.
func (p *prometheus) now(expr string) float64 {
	p.Helper()
	one := func(got []sample) bool { return len(got) == 1 }
	return p.awaitResult("("+expr+" or vector(0)) and on () (count(up == 1) == 3)", "one value", one)[0].value()
}

// await waits until Prometheus answers a query with one value.
func (p *prometheus) await(expr string, want float64) {
	p.Helper()
	p.awaitResult(expr, fmt.Sprint(want), func(got []sample) bool { return len(got) == 1 && got[0].value() == want })
}

// metrics returns the names of all metrics that Prometheus has.
func (p *prometheus) metrics() (names []string) {
	p.Helper()
	p.Must(p.api("label/__name__/values", nil, &names))
	return names
}
