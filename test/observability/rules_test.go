// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
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

// read decodes a file of the project, of YAML or JSON.
func read(t *testing.T, into any, path string) {
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
	read(t, &plain, "config/prometheus/rules.yaml")
	read(t, &wrapped, "config/prometheus/prometheusrule.yaml")
	if spec = wrapped.Spec; wrapped.APIVersion != "monitoring.coreos.com/v1" || wrapped.Kind != "PrometheusRule" {
		t.Errorf("a %s %s is no PrometheusRule", wrapped.APIVersion, wrapped.Kind)
	}
	if diff := cmp.Diff(plain, spec); diff != "" {
		t.Errorf("rules.yaml and prometheusrule.yaml differ:\n%s", diff)
	}
}

// TestAlerts checks that each alert says what it must, that a unit test makes it
// fire, and that docs/operations.md says what to do then.
func TestAlerts(t *testing.T) {
	var all rules
	read(t, &all, "config/prometheus/rules.yaml")
	var tests struct {
		Tests []struct {
			Cases []struct {
				Name string `json:"alertname"`
				Want []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	read(t, &tests, "test/observability/rules_test.yaml")
	fired := map[string]bool{}
	for _, test := range tests.Tests {
		for _, c := range test.Cases {
			fired[c.Name] = fired[c.Name] || len(c.Want) > 0
		}
	}
	page, err := os.ReadFile(filepath.Join(world.Root, "docs", "operations.md"))
	chat(t).Must(err)
	headings := strings.Split(string(page), "\n")
	const runbook = "https://github.com/teamtalk-io/teamtalk-operator/blob/main/docs/operations.md#"
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
				t.Errorf("%s: docs/operations.md has no heading of this name", r.Alert)
			}
		}
	}
}

// expressions returns all of the rules and the dashboard, by where they are.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	var all rules
	read(t, &all, "config/prometheus/rules.yaml")
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
	read(t, &dashboard, "dashboards/teamtalk-operator.json")
	variables := strings.NewReplacer("$server_namespace", ".*", "$server", ".*", "$__rate_interval", "5m")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			found["panel "+p.Title+" "+target.RefID] = variables.Replace(target.Expr)
		}
	}
	return found
}
