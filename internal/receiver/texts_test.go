// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// TestBuiltInTextCases: what the built-in texts say of payloads as other systems post them.
func TestBuiltInTextCases(t *testing.T) {
	for name, want := range map[string]string{
		// One alert: its labels are those that all share, and the summary does not say which pod.
		"one-alert": "🔥 FIRING · warning · KubePodCrashLooping\n" +
			"• Pod is crash looping. (cluster=prod-eu, namespace=shop, pod=cart-7d9f8b6c5d-x2x4z, container=app, " +
			"reason=CrashLoopBackOff), since 2026-03-01 16:05 UTC\n" +
			"  Pod shop/cart-7d9f8b6c5d-x2x4z (app) is in waiting state (reason: \"CrashLoopBackOff\") on cluster prod-eu.\n" +
			"Runbook: https://runbooks.example.com/kubepodcrashlooping\n" +
			"https://alertmanager.example.com/#/alerts?receiver=monitoring%2Fmain%2Fteamtalk",
		"blank-message": `{"message":"   \n "}`,
		"blank-summary": "🔥 FIRING · critical · DiskFull\n" +
			"• Disk of db_1 is full (cluster=prod-eu, instance=db_1:9100), since 2026-03-01 16:05 UTC\n" +
			"Runbook: https://runbooks.example.com/DiskFull\nhttps://alertmanager.example.com/#/alerts?receiver=teamtalk",
		"gm-msgobj":           "disk full",
		"gm-severityobj":      `[{"level":3}] m`,
		"gm-textlist":         "a\nb",
		"gx-gmsg-nested":      `["line1",{"k":"v"}]`,
		"g-grafana-legacy":    "[Alerting] CPU\nCPU is high",
		"g-grafana-legacy-ok": "[OK] CPU\nCPU is high",
		"gx-proxmox":          "[error] Backup of VM 105 failed\nexit code 255",
		"gx-subject":          "Problem: disk full on db1\nHost: db1\nSeverity: High",
		"url-with-slash": "🔥 FIRING · critical · DiskFull\n" +
			"• Disk of db_1 is full (cluster=prod-eu, instance=db_1:9100), since 2026-03-01 16:05 UTC\n" +
			"Runbook: https://runbooks.example.com/DiskFull\nhttps://am.example.com/#/alerts?receiver=teamtalk",
		"grafana-test": "🔥 FIRING · TestAlert\n" +
			"• Notification test (instance=Grafana), value [ metric='foo' labels={instance=bar} value=10 ], " +
			"since 2026-12-04 12:12 UTC\n  Silence: https://g/alerting/silence/new?x=1&y=2",
	} {
		t.Run(name, func(t *testing.T) {
			p := renderCase(t, name)
			if p.Text != want || p.Fault != nil {
				t.Errorf("%v\n%s\nwant\n%s", p.Fault, p.Text, want)
			}
		})
	}
}

// TestChinese: the built-in texts in Chinese, and their times in a zone.
func TestChinese(t *testing.T) {
	r := alertmanager("")
	r.Spec.Language, r.Spec.TimeZone = v1alpha1.LanguageChinese, "Asia/Shanghai"
	got, fault := posted(t, r, webhook)
	want := "🔥 告警 · critical · HighLatency\n• p99 above 1 s (instance=a)，开始于 2026-11-23 20:00 CST\n" +
		"✅ 已恢复\n• p99 above 2 s (instance=b)，2026-11-23 20:00 CST 至 2026-11-23 20:10 CST\n" +
		"http://am:9093/#/alerts?receiver=team"
	if fault != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", fault, got, want)
	}
	if got, _ := posted(t, r, strings.Replace(webhook, `"truncatedAlerts":0`, `"truncatedAlerts":5`, 1)); !strings.HasSuffix(got, "\n另有 5 条") {
		t.Error(got)
	}
}

// TestWhatAllAlertsShareIsShown: once, and what differs at each alert.
func TestWhatAllAlertsShareIsShown(t *testing.T) {
	alert := func(pod string) string {
		return fmt.Sprintf(`{"status":"firing","labels":{"alertname":"A","namespace":"shop","cluster":"eu","uid":"%[1]s","pod":"%[1]s","team":"2"}}`, pod)
	}
	r := alertmanager("")
	r.Spec.ToLabel, r.Spec.Allow = "team", &v1alpha1.NamedRecipients{Users: []v1alpha1.UserID{2}}
	got, fault := posted(t, r, `{"status":"firing","alerts":[`+alert("a-1")+`,`+alert("b-2")+`]}`)
	want := "🔥 FIRING 2 · A · cluster=eu, namespace=shop\n• A (pod=a-1)\n• A (pod=b-2)"
	if fault != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", fault, got, want)
	}
}

// TestTitlesAndStates: what happened, whatever the system calls it.
func TestTitlesAndStates(t *testing.T) {
	for body, want := range map[string]string{
		`{"Subject":"ALARM: cpu","Message":"over 90%","NewStateValue":"x","new_state":"ALARM"}`: "ALARM: cpu\nover 90%",
		`{"title":"Token bucket","state":"ok","message":"m"}`:                                   "[ok] Token bucket\nm",
		`{"alert_name":"CPU","status":"recovered","msg":"below 90%"}`:                           "[recovered] CPU\nbelow 90%",
		`{"alert":{"title":"CPU","status":"firing"},"id":1}`:                                    "[firing] CPU",
		`{"summary":"disk full","description":"93% of /var"}`:                                   "disk full\n93% of /var",
		`{"title":"disk full","message":"disk full on db1"}`:                                    "disk full on db1",
		`{"title":"t","message":null,"state":null,"severity":""}`:                               "t",
		`{"message":{"text":" "},"severity":"high"}`:                                            `[high] {"text":" "}`,
		`{"message":[]}`:                              `{"message":[]}`,
		`{"event":"push","ref":"x"}`:                  `{"event":"push","ref":"x"}`,
		`{"name":"build","state":"failed"}`:           `{"name":"build","state":"failed"}`,
		`{"message":true,"level":2.50}`:               "[2.5] true",
		`{"message":"\u200b\u0000"}`:                  `{"message":"` + "\u200b" + `\u0000"}`,
		`"only a text"`:                               "only a text",
		`null`:                                        "null",
		`{"Text":"first","text":"last","t_ext":"no"}`: "first",
		`{"title":"<no value>","message":"m"}`:        "<no value>\nm",
	} {
		if got, fault := posted(t, generic(""), body); fault != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", body, got, fault, want)
		}
	}
}

// TestAllAlertsAreCounted: templates count those too that a text has no room for.
func TestAllAlertsAreCounted(t *testing.T) {
	p := renderCase(t, "count-after-cut")
	shown := strings.Count(p.Text, "\n- ")
	if p.Fault != nil || !strings.HasPrefix(p.Text, "FIRING DiskFull (160)\n- ") || shown < 50 ||
		!strings.HasSuffix(p.Text, fmt.Sprintf("\n+%d more", 160-shown)) {
		t.Errorf("%v, %d are shown: %s", p.Fault, shown, p.Text)
	}
	n := many(200)
	for i := range 100 {
		n.Alerts[2*i].Status = "resolved"
	}
	for text, want := range map[string]string{
		"": "🔥 FIRING 100 · Down\n• the node is down (instance=node-1)",
		`{{len .Alerts}} {{len .Alerts.Firing}} {{.Alerts.Resolved | len}} {{range .Alerts}}{{.Labels.instance}} {{.Annotations.summary}},{{end}}`: "200 100 100 node-1 the node is down,node-3 ",
		`{{$all := .Alerts}}{{len $all}} {{toJson $all}}`: `200 [{"status":"firing"`,
		`{{len .Alerts}} {{.Alerts}}`:                     `200 [{firing alertname=Down, instance=node-1`,
		`{{if .Alerts.Resolved}}{{range $i, $a := .Alerts.Firing}}{{$i}} {{abbrev 60 .Annotations.summary}} of many {{.Labels.instance}},{{end}}{{end}}`: "0 the node",
	} {
		got, fault := rendered(t, alertmanager(text), notification.Message{Alerts: n})
		if fault != nil || !strings.HasPrefix(got, want) || !strings.Contains(got, " more") || len(got) < 2000 {
			t.Errorf("%s: %v, %d bytes: %s", text, fault, len(got), got)
		}
	}
}

// TestGrafanasFields can be read, and the fault of others tells which type reads them.
func TestGrafanasFields(t *testing.T) {
	if p := renderCase(t, "grafana-fields"); p.Fault != nil || p.Text != "TestAlert value [ metric='foo' labels={instance=bar} value=10 ]" {
		t.Errorf("%q, %v", p.Text, p.Fault)
	}
	if p := renderCase(t, "grafana-fields-missing"); !strings.Contains(fmt.Sprint(p.Fault), "no text") {
		t.Errorf("%q, %v", p.Text, p.Fault)
	}
	r := alertmanager(`{{range .Alerts}}{{.Nope}}{{end}}`)
	if _, fault := posted(t, r, webhook); fault == nil || !strings.Contains(fault.Error(), "Generic") {
		t.Errorf("%v", fault)
	}
	r = alertmanager("")
	got, fault := posted(t, r, `{"status":"firing","orgId":1,"externalURL":"https://g/","alerts":[{"labels":{"alertname":"CPU"},"startsAt":"2026-12-04T13:12:07+01:00",
		"values":{"B":1,"A":14151.331895396988},"panelURL":"https://g/d/x?viewPanel=1","dashboardURL":"https://g/d/x"}]}`)
	want := "🔥 FIRING · CPU\n• CPU, value A=14151.331895396988, B=1, since 2026-12-04 12:12 UTC\n  https://g/d/x?viewPanel=1"
	if fault != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", fault, got, want)
	}
	r.Spec.Template = `{{.OrgID}} {{range .Alerts}}{{.Values.A}} {{printf "%.2f %.1f" .Values.A .Values.B}} {{.Values.C}}<{{end}}`
	if got, fault := posted(t, r, `{"orgId":1,"alerts":[{"values":{"B":1,"A":14151331.5}}]}`); fault != nil || got != "1 14151331.5 14151331.50 1.0 <" {
		t.Errorf("%q, %v", got, fault)
	}
}
