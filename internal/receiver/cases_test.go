// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// readCase reads testdata/cases/<name>: a receiver, and the body that is posted to it.
func readCase(t *testing.T, name string) (*v1alpha1.TeamTalkReceiver, []byte) {
	t.Helper()
	read := func(file string) []byte {
		content, err := os.ReadFile(filepath.Join("testdata", "cases", name, file))
		must(t, err)
		return content
	}
	r := &v1alpha1.TeamTalkReceiver{}
	must(t, yaml.UnmarshalStrict(read("receiver.yaml"), r))
	return r, read("payload.json")
}

// renderCase renders the posted body.
func renderCase(t *testing.T, name string) Preview {
	t.Helper()
	r, body := readCase(t, name)
	previews, _, err := PreviewOf(t.Context(), r, body)
	must(t, err)
	if len(previews) != 1 {
		t.Fatalf("%d messages", len(previews))
	}
	return previews[0]
}

// TestTemplateCases: templates and payloads as users of Alertmanager and of other systems have them.
func TestTemplateCases(t *testing.T) {
	for name, want := range map[string]string{
		"sortedpairs-values": "[FIRING:1] DiskFull / prod-eu",
		"am-match":           "database",
		"am-rereplaceall":    "db_1",
		"am-stringslice": "cluster=prod-eu instance=db_1:9100 severity=critical " +
			"cluster=prod-eu instance=db_2:9100 severity=critical",
		"am-trimspace": "Firing",
		"am-tz":        "2026-03-02 00:05:00",
		"local": "告警时间: 2026-03-02 00:05:00 恢复: 0001-01-01 08:05:43 持续 -2562047h47m16.854775808s" +
			"告警时间: 2026-03-01 22:05:00 恢复: 2026-03-02 00:20:30 持续 2h15m30s",
		"dt-dateinzone": "2026.03.02 00:05:00",
		"gt-jenkins-ts": "build%2Ffeature%252Flogin 1772380000 2026-03-01 15:46",
		"gt-gitlab":     "g/p failed in 63.5s 63 q=0 production: branch",
		"gt-novalue":    "o/r refs/heads/main by   n=1",
		"gt-prometheusalert": "[告警信息](https://prometheus.example.com/graph?g0.expr=x%3E0.9&g0.tab=1) " +
			"[DiskFull](https://alertmanager.example.com) 级别： 开始：2026-03-01T16:05:00.25Z 结束：0001-01-01T00:00:00Z " +
			"2026-03-01 16:05:00 \n\n[告警信息](https://prometheus.example.com/graph?g0.expr=y) " +
			"[DiskFull](https://alertmanager.example.com) 级别： 开始：2026-03-01T14:05:00Z 结束：2026-03-01T16:20:30Z " +
			"2026-03-01 14:05:00 恢复",
	} {
		t.Run(name, func(t *testing.T) {
			if p := renderCase(t, name); p.Text != want || p.Fault != nil {
				t.Errorf("%q, %v, want %q", p.Text, p.Fault, want)
			}
		})
	}
}

// TestOnlyDefines: the fault says what is missing.
func TestOnlyDefines(t *testing.T) {
	p := renderCase(t, "only-defines")
	if p.Fault == nil || !strings.Contains(p.Fault.Error(), `{{ template "wechat.default.message" . }}`) ||
		!strings.HasPrefix(p.Text, "🔥 FIRING") {
		t.Errorf("%q, %v", p.Text, p.Fault)
	}
}
