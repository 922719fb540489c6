// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// TestTutorial: Alertmanager runs with the configuration of docs/tutorials/alerts.md, and alerts arrive. Only the
// address, the path of the token, and the times differ. What its route excludes does not arrive.
func TestTutorial(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(world.Root, "config", "samples", "alerts", "prometheus-stack-values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	x := newTenant(t)
	x.receiver("alerts")
	for from, to := range map[string]string{
		"http://teamtalk-gateway.teamtalk-system.svc:8400/v1/receivers/chat/alerts": x.url(world.shared, "alerts"),
		// The Prometheus Operator mounts the Secret there.
		"/etc/alertmanager/secrets/teamtalk-token/token": x.tokenFile(t),
		"group_wait: 30s":    "group_wait: 200ms",
		"group_interval: 5m": "group_interval: 1s",
	} {
		if !strings.Contains(string(content), from) {
			t.Fatalf("the sample has no %s", from)
		}
		content = []byte(strings.ReplaceAll(string(content), from, to))
	}
	var values struct {
		Alertmanager struct {
			AlertmanagerSpec struct {
				Secrets []string `json:"secrets"`
			} `json:"alertmanagerSpec"`
			Config map[string]any `json:"config"`
		} `json:"alertmanager"`
	}
	x.Must(yaml.UnmarshalStrict(content, &values))
	if secrets := values.Alertmanager.AlertmanagerSpec.Secrets; len(secrets) != 1 || secrets[0] != "teamtalk-token" {
		t.Errorf("the Secrets %q are mounted", secrets)
	}
	config, err := yaml.Marshal(values.Alertmanager.Config)
	x.Must(err)
	am := x.runAlertmanager(t, string(config))
	starts := time.Now()
	am.post("Watchdog", starts)
	am.post("TryTeamTalk", starts)
	x.awaitCount(1, "FIRING", "TryTeamTalk is wrong")
	am.post("TryTeamTalk", starts, time.Now())
	x.awaitCount(1, "RESOLVED", "TryTeamTalk is wrong")
	x.checkSettled(2)
}
