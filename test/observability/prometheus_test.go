// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// program returns where a program of Debian's package prometheus is.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not here: install it, on Debian with \"apt-get install prometheus\"", name)
	}
	return path
}

// get asks for a page, with a bearer token if there is one.
func get(ctx context.Context, address, token string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	ca, err := os.ReadFile(world.ca)
	if err != nil {
		return 0, "", err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
	}}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// prometheus is a running Prometheus.
type prometheus struct {
	t   *testing.T
	url string
}

// startPrometheus starts a Prometheus that scrapes both operators and the gateway as the
// service account does that may, and evaluates the project's rules. The targets have the
// labels that they get from a ServiceMonitor.
func startPrometheus(t *testing.T) *prometheus {
	t.Helper()
	binary, dir := program(t, "prometheus"), t.TempDir()
	addresses, err := framework.FreeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
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
		world.ca, token, world.leader.metrics, world.standby.metrics, token, world.gateway.metrics)
	for path, text := range map[string]string{token: world.scraper, config: text} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log framework.Log
	process, err := framework.Start(binary, &log, "--config.file="+config, "--web.listen-address="+addresses[0],
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--log.level=warn")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("Prometheus' log:\n%s", log.String())
		}
	})
	return &prometheus{t: t, url: "http://" + addresses[0]}
}

// api asks Prometheus' API, and decodes the data of its answer.
func (p *prometheus) api(ctx context.Context, path string, query url.Values, data any) error {
	_, body, err := get(ctx, p.url+"/api/v1/"+path+"?"+query.Encode(), "")
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

func (p *prometheus) query(ctx context.Context, expr string) ([]sample, error) {
	var data struct{ Result []sample }
	err := p.api(ctx, "query", url.Values{"query": {expr}}, &data)
	return data.Result, err
}

// now returns what Prometheus answers to a query of a sum; none is 0. It asks until all
// targets were scraped the last time: on a loaded machine one is not, and its series are
// away for a moment.
func (p *prometheus) now(expr string) float64 {
	p.t.Helper()
	var got []sample
	err := wait.PollUntilContextTimeout(p.t.Context(), 100*time.Millisecond, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		var err error
		got, err = p.query(ctx, "("+expr+" or vector(0)) and on () (count(up == 1) == 3)")
		return err == nil && len(got) == 1, nil
	})
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	return got[0].value()
}

// await waits until Prometheus answers a query with one value.
func (p *prometheus) await(expr string, want float64) {
	p.t.Helper()
	var got []sample
	var last error
	err := wait.PollUntilContextTimeout(p.t.Context(), 100*time.Millisecond, framework.Timeout, true, func(ctx context.Context) (bool, error) {
		got, last = p.query(ctx, expr)
		return last == nil && len(got) == 1 && got[0].value() == want, nil
	})
	if err != nil {
		p.t.Errorf("%s is %v (%v), want %v", expr, got, last, want)
	}
}
