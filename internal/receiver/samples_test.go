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

// sample reads the receiver of a file in config/samples.
func sample(t *testing.T, file string) *v1alpha1.TeamTalkReceiver {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "samples", file))
	must(t, err)
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		r := &v1alpha1.TeamTalkReceiver{}
		if strings.Contains(document, "kind: TeamTalkReceiver\n") {
			must(t, yaml.UnmarshalStrict([]byte(document), r))
			return r
		}
	}
	t.Fatalf("%s has no receiver", file)
	return nil
}

// TestSamplesOfWebhooks: the templates of the samples make texts of the events that they are for.
func TestSamplesOfWebhooks(t *testing.T) {
	for event, want := range map[string]string{
		"github-push": "shop/api: lisi pushed 2 commits to main\n• Close the connection (Li Si)\n• Add a test (Li Si)\n" +
			"https://git.example.com/shop/api/compare/a1...b2",
		"github-pull-request":         "shop/api: pull request #7 merged by lisi\nClose the connection\nhttps://git.example.com/shop/api/pull/7",
		"github-workflow-run":         "shop/api: CI failure on main\nAdd a test\nhttps://git.example.com/shop/api/actions/runs/9",
		"github-workflow-run-started": "shop/api: CI queued on main\nAdd a test\nhttps://git.example.com/shop/api/actions/runs/9",
		"github-release":              "shop/api: release v1.2.0 published by lisi\nhttps://git.example.com/shop/api/releases/tag/v1.2.0",
		"github-star":                 "shop/api: created by lisi",
		"gitlab-push": "shop/api: Li Si pushed 1 commits to main\n• Add a test (Li Si)\n" +
			"https://gitlab.example.com/shop/api/-/commits/b2",
		"gitlab-merge-request": "shop/api: merge request !12 open by Li Si\nClose the connection\n" +
			"https://gitlab.example.com/shop/api/-/merge_requests/12",
		"gitlab-pipeline": "shop/api: pipeline failed on main\nAdd a test\n• test/unit failed\n" +
			"https://gitlab.example.com/shop/api/-/pipelines/31",
		"gitlab-release": "shop/api: release v1.2.0 created\n1.2\nhttps://gitlab.example.com/shop/api/-/releases/v1.2.0",
	} {
		t.Run(event, func(t *testing.T) {
			tool, _, _ := strings.Cut(event, "-")
			body, err := os.ReadFile(filepath.Join("testdata", "webhooks", event+".json"))
			must(t, err)
			previews, _, err := PreviewOf(t.Context(), sample(t, "receiver-"+tool+".yaml"), body)
			must(t, err)
			if p := previews[0]; p.Text != want || p.Fault != nil {
				t.Errorf("%q, %v, want %q", p.Text, p.Fault, want)
			}
		})
	}
}

// TestGrafana: type Grafana takes alerts as type Alertmanager does, and the rules of earlier versions.
func TestGrafana(t *testing.T) {
	many := `{"orgId":1,"externalURL":"https://g.example.com/","alerts":[` +
		strings.TrimSuffix(strings.Repeat(`{"labels":{"alertname":"A"},"panelURL":"https://g.example.com/d/1"},`, 6), ",") + `]}`
	one := `{"orgId":1,"externalURL":"https://g.example.com/","alerts":[{"status":"firing","labels":{"alertname":"A"},` +
		`"values":{"B":22.5},"valueString":"[ var='B' ]","panelURL":"https://g.example.com/d/1?viewPanel=2","dashboardURL":"https://g.example.com/d/1",` +
		`"silenceURL":"https://g.example.com/s","imageURL":"https://g.example.com/i.png","generatorURL":"https://g.example.com/a"}]}`
	read := func(name string) string {
		_, body := readCase(t, name)
		return string(body)
	}
	for name, tc := range map[string]struct {
		body, wantErr string
		want          []string
	}{
		"one alert": {body: one, want: []string{"🔥 FIRING · A\n• A, value B=22.5\n  https://g.example.com/d/1?viewPanel=2\n" +
			"  https://g.example.com/i.png\n  Silence: https://g.example.com/s"}},
		"many alerts": {body: many, want: []string{"🔥 FIRING 6 · A\n", "\nhttps://g.example.com/alerting/list"}},
		"test":        {body: read("grafana-test"), want: []string{"🔥 FIRING · TestAlert\n• Notification test (instance=Grafana)"}},
		"a rule":      {body: read("g-grafana-legacy"), want: []string{"[Alerting] CPU\nCPU is high"}},
		"a rule, ok":  {body: read("g-grafana-legacy-ok"), want: []string{"[OK] CPU\nCPU is high"}},
		"none":        {body: `{"alerts":[]}`, wantErr: "the body has no alerts"},
		"not JSON":    {body: `x`, wantErr: "the body is not JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			r := generic("")
			r.Spec.Type, r.Spec.To.Users = v1alpha1.ReceiverGrafana, []v1alpha1.UserID{2}
			previews, _, err := PreviewOf(t.Context(), r, []byte(tc.body))
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("%v, want %s", err, tc.wantErr)
				}
				return
			}
			must(t, err)
			for _, want := range tc.want {
				if !strings.Contains(previews[0].Text, want) {
					t.Errorf("%q has no %q", previews[0].Text, want)
				}
			}
		})
	}
}

// TestTemplatesOfChats: templates see the text, and the message as it was posted.
func TestTemplatesOfChats(t *testing.T) {
	r := generic("[{{ .Payload.msgtype }}] {{ .Text | toUpper }} {{ . }}{{ .Payload.missing }}")
	r.Spec.Type, r.Spec.To.Users = v1alpha1.ReceiverDingTalk, []v1alpha1.UserID{2}
	body := `{"msgtype":"markdown","markdown":{"title":"a b","text":"**a** b"}}`
	previews, _, err := PreviewOf(t.Context(), r, []byte(body))
	must(t, err)
	if p := previews[0]; p.Text != "[markdown] A B a b" || p.Fault != nil {
		t.Errorf("%q, %v", p.Text, p.Fault)
	}
	r.Spec.Template = "{{ .Missing }}"
	previews, _, err = PreviewOf(t.Context(), r, []byte(body))
	must(t, err)
	if p := previews[0]; p.Text != "a b" || p.Fault == nil {
		t.Errorf("%q, %v", p.Text, p.Fault)
	}
	// What does not fit is cut, as a text of type Generic is.
	r.Spec.Template = ""
	long := `{"msgtype":"text","text":{"content":"` + strings.Repeat("长", 3000) + `"}}`
	previews, _, err = PreviewOf(t.Context(), r, []byte(long))
	must(t, err)
	if p := previews[0]; len(p.Text) > 3051 || len(p.Text) < 3040 || !strings.HasSuffix(p.Text, "长…") || p.Fault != nil {
		t.Errorf("%d bytes, %v", len(p.Text), p.Fault)
	}
}
