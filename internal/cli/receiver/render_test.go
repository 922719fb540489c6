// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericclioptions"

	"github.com/teamtalk-io/teamtalk-operator/internal/cli/kube"
)

func TestRender(t *testing.T) {
	samples := filepath.Join("..", "..", "..", "config", "samples")
	payload := filepath.Join(samples, "receiver-payload.json")
	write := func(text string) string {
		t.Helper()
		file := filepath.Join(t.TempDir(), "receiver.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	declared := func(more string) string {
		return write("apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkReceiver\nmetadata: {name: r}\nspec:\n  type: Alertmanager\n  to: {users: [2], groups: [7]}\n" + more)
	}
	valid := func(spec string) string {
		return write("apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkReceiver\nmetadata: {name: r}\nspec: {" + spec + "}\n")
	}
	const one = "apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkReceiver\nmetadata: {name: r}\nspec: {type: Generic, to: {users: [2]}}\n"
	tests := map[string]struct {
		receiver, payload, stdin string
		wantOut, wantErr         []string
	}{
		"the sample of Alertmanager": {
			receiver: filepath.Join(samples, "receiver-alertmanager.yaml"), payload: payload,
			wantOut: []string{"Message: alerts-", "To: user 4\n", "🔥 FIRING · critical · HighLatency\n• p99 is above 1 s (instance=api-1), since "},
		},
		"the sample of Flux, from standard input": {
			receiver: filepath.Join(samples, "receiver-flux.yaml"), payload: "-",
			stdin:   `{"involvedObject":{"kind":"Kustomization","name":"web","namespace":"apps","uid":"u-1"},"reason":"Failed","message":"no such image"}`,
			wantOut: []string{"To: user 4\n", "\nKustomization apps/web: Failed\nno such image\n"},
		},
		"the sample with names": {
			receiver: filepath.Join(samples, "receiver-names.yaml"), payload: payload, wantOut: []string{"To: group \"oncall\"\n"},
		},
		"a byte order mark": {
			receiver: filepath.Join("testdata", "receiver-with-bom.yaml"), payload: payload, wantOut: []string{"To: user 4\n", "🔥 FIRING"},
		},
		"a template": {
			receiver: declared("  template: '{{.Status}} {{len .Alerts}}'"), payload: payload,
			wantOut: []string{"To: user 2, group 7\n", "\nfiring 2\n"},
		},
		"a namespace, and a number": {
			receiver: write(strings.Replace(one, "{name: r}", "{name: r, namespace: n}", 1)), payload: "-", stdin: `{"n":12345678901234567}`,
			wantOut: []string{"To: user 2\n", `{"n":12345678901234567}`},
		},
		"several messages": {
			receiver: declared("  groupBy: [instance]"), payload: payload,
			wantOut: []string{"FIRING · critical · HighLatency\n• p99", "\n\nMessage: r-", "✅ RESOLVED · critical · HighLatency\n• p99"},
		},
		"a template that fails": {
			receiver: declared("  template: '{{fail \"no\"}}'"), payload: payload,
			wantOut: []string{"built-in", "🔥 FIRING"}, wantErr: []string{"the template fails", "no"},
		},
		"a template that does not parse": {
			receiver: declared("  template: '{{.Status'"), payload: payload,
			wantOut: []string{"built-in", "🔥 FIRING"}, wantErr: []string{"spec.template"},
		},
		"a recipient that is not allowed": {
			receiver: declared("  toLabel: instance\n  allow: {users: [3]}"), payload: payload,
			wantOut: []string{"To: user 2, group 7\n"}, wantErr: []string{"2 alerts", "spec.allow"},
		},
		"a filter, keys and recipients": {
			receiver: declared("  allow: {groups: [9]}\n  filter: payload.status == \"firing\"\n  dedupKey: payload.labels.alertname + \"/\" + payload.labels.instance\n  recipients: '[group(9)]'"), payload: payload,
			wantOut: []string{"Filtered: 1 of what was posted, by spec.filter\n\nMessage: r-", "To: group 9\n", "Key: \"HighLatency/api-1\"\n", "🔥 FIRING"},
		},
		"recipients by name": {
			receiver: declared("  allow: {userNames: [li.si], groupNames: [on call]}\n  recipients: '[user(\"li.si\"), group(\"on call\")]'"), payload: payload,
			wantOut: []string{"To: user \"li.si\", group \"on call\"\n"},
		},
		"all of it is filtered": {receiver: declared("  filter: 'false'"), payload: payload, wantOut: []string{"Filtered: 2 of what was posted"}},
		"an expression that fails": {
			receiver: declared("  filter: int(payload.labels.alertname) > 1"), payload: payload,
			wantOut: []string{"🔥 FIRING"}, wantErr: []string{"an expression fails: spec.filter: line 1, column 4: a value cannot be used here"},
		},
		"an expression that does not compile": {
			receiver: declared("  dedupKey: payload.labels.nope("), payload: payload,
			wantOut: []string{"🔥 FIRING"}, wantErr: []string{"an expression fails: spec.dedupKey: line 1, column 21: Syntax error"},
		},
		"a recipient of an expression that is not allowed": {
			receiver: declared("  allow: {users: [3]}\n  recipients: '[user(3), user(4)]'"), payload: payload,
			wantOut: []string{"To: user 3\n"}, wantErr: []string{"for 2 of what was posted", "spec.allow"},
		},
		"a blank expression": {receiver: declared("  filter: '  '"), payload: payload, wantErr: []string{"spec.filter"}},
		"recipients by a label and by an expression": {
			receiver: declared("  toLabel: a\n  recipients: '[]'\n  allow: {users: [3]}"), payload: payload, wantErr: []string{"must not be set together"},
		},
		"an unknown field":   {receiver: declared("  templates: x"), payload: payload, wantErr: []string{"templates"}},
		"no receiver":        {receiver: write("kind: Secret"), payload: payload, wantErr: []string{"no TeamTalkReceiver"}},
		"two receivers":      {receiver: write(one + "---\n" + one), payload: payload, wantErr: []string{"more than one"}},
		"no recipients":      {receiver: valid("type: Generic, to: {}"), payload: payload, wantErr: []string{"spec.to"}},
		"no type":            {receiver: valid("to: {users: [2]}"), payload: payload, wantErr: []string{"spec.type"}},
		"no spec":            {receiver: valid(""), payload: payload, wantErr: []string{"spec"}},
		"ids that are none":  {receiver: valid("type: Generic, to: {users: [0, -3]}"), payload: payload, wantErr: []string{"spec.to.users[0]", "spec.to.users[1]"}},
		"too short a window": {receiver: valid("type: Generic, to: {users: [2]}, dedupWindowSeconds: 1"), payload: payload, wantErr: []string{"spec.dedupWindowSeconds"}},
		"a label of another type": {
			receiver: valid("type: Generic, to: {users: [2]}, toLabel: x, allow: {users: [3]}"), payload: payload,
			wantErr: []string{"toLabel, groupBy and resolvedTemplate require type Alertmanager or Grafana"},
		},
		"a sender who is a recipient": {receiver: valid("type: Generic, senderID: 2, to: {users: [2]}"), payload: payload, wantErr: []string{"spec.senderID"}},
		"the same label twice":        {receiver: valid("type: Alertmanager, to: {users: [2]}, groupBy: [a, a]"), payload: payload, wantErr: []string{"spec.groupBy"}},
		"another version":             {receiver: write("apiVersion: teamtalk.io/v1\nkind: TeamTalkReceiver"), payload: payload, wantErr: []string{"apiVersion"}},
		"no name":                     {receiver: write("apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkReceiver\nspec: {type: Generic, to: {users: [2]}}"), payload: payload, wantErr: []string{"metadata.name"}},
		"no name that there may be":   {receiver: write("apiVersion: teamtalk.io/v1alpha1\nkind: TeamTalkReceiver\nmetadata: {name: A_b}\nspec: {type: Generic, to: {users: [2]}}"), payload: payload, wantErr: []string{"metadata.name"}},
		"no JSON":                     {receiver: declared(""), payload: "-", stdin: "{", wantErr: []string{"bad syntax"}},
		"a file that is not":          {receiver: "nowhere.yaml", payload: payload, wantErr: []string{"nowhere.yaml"}},
		"a payload that is not":       {receiver: declared(""), payload: "nowhere.json", wantErr: []string{"nowhere.json"}},
		"nothing":                     {wantErr: []string{"--receiver and --payload"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c := NewRenderCommand(kube.NewAccess(genericclioptions.IOStreams{In: strings.NewReader(tc.stdin), Out: &out, ErrOut: &out}))
			c.SilenceErrors, c.SilenceUsage = true, true
			c.SetArgs([]string{"--receiver", tc.receiver, "--payload", tc.payload})
			err := c.ExecuteContext(t.Context())
			if (err != nil) != (len(tc.wantErr) > 0) {
				t.Fatalf("error %v, want %q", err, tc.wantErr)
			}
			for _, want := range tc.wantOut {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
			for _, want := range tc.wantErr {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %q, want %q", err, want)
				}
			}
		})
	}
}
