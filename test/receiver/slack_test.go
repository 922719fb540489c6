// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"testing"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// startSlackConfigs starts an Alertmanager that posts to target as to Slack.
func (x *tenant) startSlackConfigs(t *testing.T, target string) *alertmanager {
	t.Helper()
	return x.runAlertmanager(t, fmt.Sprintf(`
route: {receiver: team, group_by: [alertname], group_wait: 200ms, group_interval: 1s, repeat_interval: 1h}
receivers:
- name: team
  slack_configs:
  - api_url: %s/%s
    channel: '#oncall'
    send_resolved: true
`, target, secretToken))
}

func slack(r *v1alpha1.TeamTalkReceiver) { r.Spec.Type = v1alpha1.ReceiverSlack }

// TestSlackConfigs: Alertmanager's slack_configs, with its token in the URL, arrive once: firing, while nobody serves,
// and resolved.
func TestSlackConfigs(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("chat", slack)
	s := x.serve()
	am := x.startSlackConfigs(t, x.url(s.address, "chat"))
	starts := time.Now()
	am.post("Before", starts)
	x.awaitCount(1, "[FIRING:1] Before")
	s.process.Kill()
	am.post("Meanwhile", starts)
	am.awaitMetric(failures, 3)
	s.start()
	x.awaitCount(1, "[FIRING:1] Meanwhile")
	am.post("Before", starts, time.Now())
	x.awaitCount(1, "[RESOLVED] Before")
	x.checkSettled(3)
}

// TestSlackConfigsHearNothing: what slack_configs post again, because its answer was lost, arrives once.
func TestSlackConfigsHearNothing(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.receiver("chat", slack)
	s := x.serve()
	front, taken := x.losingAnswers(t, s)
	am := x.startSlackConfigs(t, x.url(front, "chat"))
	am.post("Unheard", time.Now())
	am.awaitMetric(failures, 3)
	s.start()
	x.EventuallySeen(func() string { return fmt.Sprintf("%d answers", taken.Load()) }, func() bool { return taken.Load() >= 3 })
	x.awaitCount(1, "[FIRING:1] Unheard")
	x.checkSettled(1)
}
