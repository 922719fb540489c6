// SPDX-License-Identifier: Apache-2.0

package template

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	alertmanager "github.com/prometheus/alertmanager/template"
)

// oracle returns the same notification for Alertmanager's package and for ours.
func oracle(t *testing.T) (theirs *alertmanager.Data, ours *Notification) {
	t.Helper()
	payload, err := os.ReadFile(filepath.Join("testdata", "alertmanager", "notification.json"))
	must(t, err)
	theirs, ours = &alertmanager.Data{}, &Notification{}
	must(t, json.Unmarshal(payload, theirs))
	must(t, json.Unmarshal(payload, ours))
	return theirs, ours
}

// same checks that a template makes the same text with Alertmanager's package and with ours. Library is the text of
// Alertmanager's own templates, if they are to be there.
func same(t *testing.T, library, text string) {
	t.Helper()
	theirs, ours := oracle(t)
	am, err := alertmanager.New()
	must(t, err)
	must(t, am.Parse(strings.NewReader(library)))
	want, err := am.ExecuteTextString(text, theirs)
	must(t, err)
	parsed, err := Parse("template", library+text)
	must(t, err)
	got, err := parsed.Execute(t.Context(), ours, &Limits{Work: maxWork, Output: maxOutput})
	if err != nil || strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("%s:\n%q, %v, want\n%q", text, got, err, want)
	}
}

// TestAlertmanagersFunctions: each function of Alertmanager's templates does the same here, and so do the methods of
// the data.
func TestAlertmanagersFunctions(t *testing.T) {
	texts := []string{
		`{{.Status | toUpper}} {{.Receiver | toUpper | toLower}} {{"CRITICAL in prod-eu" | title}} {{title "ŉ ß éa o'neil"}}`,
		`<{{trimSpace "  a b \n"}}>`,
		`{{join ", " .CommonLabels.Values}} {{.CommonLabels.Names | join ""}} {{join "-" (stringSlice "a" "b")}}`,
		`{{match "^Disk" .CommonLabels.alertname}} {{match "x" .Status}} {{if match "prod-.*" .CommonLabels.cluster}}yes{{end}}`,
		`{{range .Alerts}}{{.Annotations.description | safeHtml}} {{.GeneratorURL | safeUrl}} {{.GeneratorURL | urlUnescape}}{{end}}`,
		`{{range .Alerts}}{{reReplaceAll "(.*):([0-9]+)" "$2 of ${1}" .Labels.instance}} {{reReplaceAll "_" "-" .Labels.instance}}{{end}}`,
		`{{range .Alerts}}{{.StartsAt | date "2006-01-02 15:04:05 MST"}} {{.StartsAt | tz "Europe/Berlin" | date "Jan 2 15:04:05.999 -0700"}}{{end}}`,
		`{{range .Alerts}}{{.StartsAt | tz "Asia/Kolkata"}} {{(.StartsAt | tz "America/New_York").Format "15:04"}} {{.EndsAt}}{{end}}`,
		`{{range .Alerts}}{{if gt (since .StartsAt).Hours 1.0}}long ago{{end}}{{end}}`,
		`{{range .Alerts.Resolved}}{{.EndsAt.Sub .StartsAt | humanizeDuration}} {{.EndsAt.Sub .StartsAt}}{{end}} {{humanizeDuration 90061}} {{humanizeDuration 0.25}} {{humanizeDuration "7"}}`,
		// Ours leaves characters of HTML as they are; these values have none.
		`{{toJson .GroupLabels}} {{toJson (index .Alerts 1).Labels}} {{toJson .CommonLabels.SortedPairs}} {{toJson .Status}} {{toJson (index .Alerts 0).StartsAt}} {{toJson (list 1 2.5 "a")}}`,
		`{{$l := list 1 "a" .Status}}{{$l}} {{range append $l "b" 2}}{{.}};{{end}} {{len (list)}} {{list}} {{index $l 2}} {{append (list) 1}}`,
		`{{$d := dict "a" 1 "b" .Status}}{{$d.a}} {{$d.b}} {{$d}} {{range $k, $v := $d}}{{$k}}={{$v}} {{end}}{{dict}}`,
		`{{.GroupLabels}} {{.CommonLabels.SortedPairs}} {{.CommonAnnotations}} {{.GroupLabels.SortedPairs.Names}} {{.GroupLabels.SortedPairs.Values}}`,
		`{{(.CommonLabels.Remove .GroupLabels.Names).Names}} {{len (.CommonLabels.Remove (stringSlice "job"))}}`,
		`{{range .CommonLabels.SortedPairs}}{{.Name}}={{.Value}} {{.}} {{end}}{{(index .CommonLabels.SortedPairs 0).Name}}`,
		`{{range $k, $v := .CommonLabels}}{{$k}}={{$v}} {{end}}{{.CommonLabels.nothing}}<{{index .CommonLabels "nothing"}}>{{with .CommonLabels.nothing}}x{{else}}none{{end}}`,
		`{{len .Alerts}} {{.Alerts.Firing | len}} {{.Alerts.Resolved}} {{.Alerts}} {{.ExternalURL}} {{.Receiver}} {{.NotificationReason}}`,
		`{{printf "%s %d %v %q %5.1f|%-8s|" .Status 7 .GroupLabels "x" 2.25 "ab"}} {{print 1 2 "a" "b" 3}} {{println .Status}} {{html "<a & b>"}} {{js "it's"}} {{urlquery "a b&c"}}`,
		`{{eq .Status "firing" "x"}} {{ne 1 2}} {{lt 1 2}} {{le "a" "b"}} {{gt 2.5 1.5}} {{ge 1 1}} {{and 1 ""}} {{or "" "x"}} {{not true}} {{slice "abcd" 1 3}} {{len "abc"}}`,
	}
	for name := range alertmanager.DefaultFuncs {
		called := regexp.MustCompile(`\b` + name + `\b`)
		if !called.MatchString(strings.Join(texts, "\n")) {
			t.Errorf("%s is not compared", name)
		}
	}
	for _, text := range texts {
		same(t, "", text)
	}
}

// TestAlertmanagersTemplates: Alertmanager's own templates make the same text here.
func TestAlertmanagersTemplates(t *testing.T) {
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", "github.com/prometheus/alertmanager/template").Output()
	must(t, err)
	library, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "default.tmpl"))
	must(t, err)
	names := regexp.MustCompile(`{{-? *define "([^"]+)"`).FindAllStringSubmatch(string(library), -1)
	if len(names) < 20 {
		t.Fatalf("%d templates", len(names))
	}
	for _, name := range names {
		data := "."
		if strings.HasPrefix(name[1], "__text_alert_list") || name[1] == "pagerduty.default.instances" {
			data = ".Alerts"
		}
		same(t, string(library), `<{{template "`+name[1]+`" `+data+`}}>`)
	}
}

// TestTemplatesInUse: templates of the shapes that are in use elsewhere make the same text here.
func TestTemplatesInUse(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "alertmanager", "*.tmpl"))
	must(t, err)
	if len(files) < 10 {
		t.Fatalf("%d files", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			must(t, err)
			same(t, "", string(text))
		})
	}
}

// TestLaterFunctions: functions and methods that Alertmanager has since its version 0.33.
func TestLaterFunctions(t *testing.T) {
	_, n := oracle(t)
	n.RouteLabels = KV{"team": "storage"}
	for text, want := range map[string]string{
		`{{routeLabels "team"}}<{{routeLabels "none"}}>{{.RouteLabels.team}}`:                    "storage<>storage",
		`{{(toDate "2006-01-02 15:04" "2026-03-01 16:05").Unix}} {{(toDate "2006" "x").IsZero}}`: "1772381100 true",
		`{{mustToDate "2006-01-02 -0700" "2026-03-01 +0100" | date "02.01. 15:04 -0700"}}`:       "01.03. 00:00 +0100",
		`{{(index .Alerts 1).StartsAt | addDuration "1h30m"}}`:                                   "1772379300000",
		`{{base64encode "a?>b/ü"}} {{base64decode "YT8-Yi_DvA=="}}`:                              "YT8-Yi_DvA== a?>b/ü",
		`{{if gt now.Unix 1772381100}}later{{end}} {{(now | tz "UTC").IsZero}}`:                  "later false",
		`{{.GroupLabels.Values.Join ":"}} {{.CommonLabels.SortedPairs.Names.Join ", "}}`:         "DiskFull:prod-eu alertname, cluster, job, severity",
		`{{date "2006" now | len}} {{since now | humanizeDuration}}`:                             "4 0s",
	} {
		parsed, err := Parse("template", text)
		must(t, err)
		if got, err := parsed.Execute(t.Context(), n, &Limits{Work: maxWork, Output: maxOutput}); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`{{mustToDate "2006" "x"}}`, `{{tz "Nowhere" (index .Alerts 0).StartsAt}}`, `{{tz "../../etc/passwd" now}}`, `{{base64decode "?"}}`, `{{dict "a"}}`, `{{urlUnescape "%zz"}}`} {
		parsed, err := Parse("template", text)
		must(t, err)
		if got, err := parsed.Execute(t.Context(), n, &Limits{Work: maxWork, Output: maxOutput}); err == nil {
			t.Errorf("%s: %q", text, got)
		}
	}
}
