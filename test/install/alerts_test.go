// SPDX-License-Identifier: Apache-2.0

package install

import (
	"encoding/json"
	"maps"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// alerts returns the alerts that the chart renders, by name.
func alerts(t *testing.T, args ...string) map[string]map[string]any {
	t.Helper()
	objects, err := template(t, name, append(args, "--set", "metrics.prometheusRule.enabled=true")...)
	must(t, err)
	groups, _, err := unstructured.NestedSlice(findObject(t, objects, "PrometheusRule", namespace, name).Object, "spec", "groups")
	must(t, err)
	found := map[string]map[string]any{}
	for _, group := range groups {
		for _, rule := range group.(map[string]any)["rules"].([]any) {
			rule := rule.(map[string]any)
			found[rule["alert"].(string)] = rule
		}
	}
	return found
}

// TestAlertSwitches disables each alert, and changes each that it can.
func TestAlertSwitches(t *testing.T) {
	t.Parallel()
	before := alerts(t)
	if len(before) < 20 {
		t.Fatalf("there are %d alerts", len(before))
	}
	one := regexp.MustCompile(`> [0-9.]+`)
	withoutThreshold := map[string]bool{
		"TeamTalkOperatorAbsent": true, "TeamTalkOperatorWithoutLeader": true, "TeamTalkOperatorManyLeaders": true, "TeamTalkDBProxyDown": true,
		"TeamTalkDBProxyDegraded": true, "TeamTalkRouterDown": true, "TeamTalkKeyMissing": true, "TeamTalkReceiverFailing": true,
	}
	changes, disabled, want := map[string]any{}, map[string]any{}, map[string]map[string]any{}
	for alert, rule := range before {
		disabled[alert] = map[string]any{"enabled": false}
		change := map[string]any{"enabled": true, "for": "77m", "severity": "page", "labels": map[string]any{"team": "chat"}}
		annotations := maps.Clone(rule["annotations"].(map[string]any))
		annotations["runbook_url"] = "https://runbooks.example.com/teamtalk#" + strings.ToLower(alert)
		changed := map[string]any{"alert": alert, "expr": rule["expr"], "for": "77m", "annotations": annotations,
			"labels": map[string]any{"severity": "page", "team": "chat"}}
		if !withoutThreshold[alert] {
			change["threshold"] = 0.625
			expr := rule["expr"].(string)
			number := one.FindString(expr)
			if strings.Count(expr, number) != 1 {
				t.Errorf("%s compares with %q more than once: which one is the threshold?", alert, number)
			}
			changed["expr"] = strings.Replace(expr, number, "> 0.625", 1)
		}
		changes[alert], want[alert] = change, changed
	}
	got := alerts(t, "--set-json", "metrics.prometheusRule.alerts="+encodeJSON(t, changes),
		"--set", "metrics.prometheusRule.runbookURL=https://runbooks.example.com/teamtalk")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changed alerts: %s", diff)
	}
	delete(disabled, "TeamTalkInDoubt")
	if left := alerts(t, "--set-json", "metrics.prometheusRule.alerts="+encodeJSON(t, disabled)); len(left) != 1 || left["TeamTalkInDoubt"] == nil {
		t.Errorf("with all alerts but one disabled, there are %v", left)
	}
}

func encodeJSON(t *testing.T, value any) string {
	t.Helper()
	b, err := json.Marshal(value)
	must(t, err)
	return string(b)
}
