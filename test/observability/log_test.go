// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/otlp"
)

// TestLog checks that logs are JSON with documented keys, and hold no secret.
func TestLog(t *testing.T) {
	m := send(t, "logged", v1alpha1.Recipients{Users: []v1alpha1.UserID{4242}})
	// Something that a library has to say by itself.
	_, _, _ = get(t.Context(), "http://"+world.leader.metrics+"/metrics", "")

	page, err := os.ReadFile(filepath.Join(world.Root, "docs", "how-to", "operations.md"))
	chat(t).Must(err)
	_, section, _ := strings.Cut(string(page), "\n## Logs\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(section, -1) {
		for _, key := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(row[1], -1) {
			documented = append(documented, key[1])
		}
	}
	chat(t).Eventually("the log does not say that message "+m.Name+" has failed", func() bool {
		return says(world.Log.String(), `"msg":"message finished"`, `"uid":"`+string(m.UID)+`"`, `"reason":"`+v1alpha1.ReasonRecipientNotFound+`"`)
	})
	log := world.Log.String()
	for s := bufio.NewScanner(strings.NewReader(log)); s.Scan(); {
		var line map[string]any
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Errorf("not JSON: %s", s.Text())
			continue
		}
		logger, _ := line["logger"].(string)
		if !slices.Contains([]string{"", "caches", "connection", "delivery", "leadership", "tracing", "net-http"}, logger) {
			continue
		}
		if msg, _ := line["msg"].(string); strings.HasPrefix(strings.ToLower(msg), "starting ") {
			continue // controller-runtime's, which has no name there
		}
		for key := range line {
			if !slices.Contains(documented, key) {
				t.Errorf("docs/how-to/operations.md does not know the key %q of %s", key, s.Text())
			}
		}
	}
	for what, secret := range map[string]string{"the key": devserver.DevelopmentKey, "a message's text": text, "a token": world.scraper} {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log", what)
		}
	}
}

// TestLastLine: the reason for an end is a line like all others, unless the command line is wrong.
func TestLastLine(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "kubeconfig")
	tests := map[string]struct {
		args  []string
		plain bool
		want  string
		code  int
	}{
		"no cluster":               {args: []string{"--kubeconfig", nowhere}, want: "no cluster configured", code: 1},
		"no cluster, for people":   {args: []string{"--kubeconfig", nowhere, "--log-format", "text"}, plain: true, want: "no cluster configured", code: 1},
		"no cluster for a gateway": {args: []string{"gateway", "--kubeconfig", nowhere}, want: "no cluster configured", code: 1},
		"misuse":                   {args: []string{"--log-format", "json", "--drain-timeout=-1s"}, plain: true, want: "--drain-timeout", code: 2},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var log framework.Log
			p, err := framework.Start(world.Binary, &log, tc.args...)
			chat(t).Must(err)
			defer p.Kill()
			last, code := lastLine(t, p, &log)
			if code != tc.code {
				t.Errorf("it ends with %d, want %d", code, tc.code)
			}
			why, isJSON := errorIn(last)
			if isJSON == tc.plain || tc.plain && !strings.HasPrefix(last, "teamtalk-operator: ") {
				t.Errorf("the last line is %q", last)
			}
			if tc.plain {
				why = last
			}
			if !strings.Contains(why, tc.want) || strings.Count(log.String(), tc.want) != 1 {
				t.Errorf("it says %q, want %q, once", log.String(), tc.want)
			}
		})
	}
}

// TestLastLineOfLeader: all that a leader says which has lost its Lease is JSON.
func TestLastLineOfLeader(t *testing.T) {
	const user = "lonely"
	proxy := startProxy(t, user)
	leader := startProbed(t, proxy.Config(), "--leader-election-namespace", user)
	leader.Eventually("it does not come to work", func() bool { return leader.says("Starting workers") })
	proxy.SetGone(true)
	last, code := lastLine(t, leader.Process, &leader.log)
	if why, isJSON := errorIn(last); !isJSON || !strings.Contains(why, "leader election lost") || code != 1 {
		t.Errorf("it ends with %d and %q", code, last)
	}
	for s := bufio.NewScanner(strings.NewReader(leader.log.String())); s.Scan(); {
		if !json.Valid(s.Bytes()) {
			t.Errorf("not JSON: %s", s.Text())
		}
	}
}

// lastLine waits for the end of a process and returns what it said last, and its code.
func lastLine(t *testing.T, p *framework.Process, log *framework.Log) (line string, code int) {
	t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](p.AwaitEnd(t))
	if !ok {
		t.Fatalf("it ends with %v", p.Err())
	}
	lines := strings.Split(strings.TrimRight(log.String(), "\n"), "\n")
	return lines[len(lines)-1], exit.ExitCode()
}

// errorIn returns what a line of JSON has as its error.
func errorIn(line string) (why string, isJSON bool) {
	var l struct{ Level, Error string }
	err := json.Unmarshal([]byte(line), &l)
	return l.Error, err == nil && l.Level == "error"
}

// TestTraces: each message has one trace, whose id is its UID, with a span for every step.
func TestTraces(t *testing.T) {
	plain := []string{"message", "preflight", "read_back", "record", "route", "send"}
	tests := map[string]struct {
		to v1alpha1.Recipients
		// want are the names of the spans.
		want []string
	}{
		"one": {v1alpha1.Recipients{Users: []v1alpha1.UserID{8}}, plain},
		"three": {v1alpha1.Recipients{Users: []v1alpha1.UserID{8, 9, 10}}, append([]string{
			"preflight", "read_back", "route", "send", "preflight", "read_back", "route", "send"}, plain...)},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			m := send(t, "traced-"+name, tc.to)
			id := strings.ReplaceAll(string(m.UID), "-", "")
			slices.Sort(tc.want)
			var names []string
			var spans []otlp.Span
			chat(t).EventuallySeen(func() string { return fmt.Sprintf("the trace has %v, want %v", names, tc.want) }, func() bool {
				names, spans = nil, nil
				for _, s := range world.collector.Spans() {
					if s.Trace() == id {
						names, spans = append(names, s.GetName()), append(spans, s)
					}
				}
				slices.Sort(names)
				return slices.Equal(names, tc.want)
			})
			for _, s := range spans {
				if s.Attribute("teamtalk.message.name") != m.Name || s.Attribute("teamtalk.server") != "chat/default" {
					t.Errorf("%s does not say whose it is: %v", s.GetName(), s)
				}
				for what, secret := range map[string]string{"the text": text, "the key": devserver.DevelopmentKey} {
					if strings.Contains(fmt.Sprint(s), secret) {
						t.Errorf("%s holds %s", s.GetName(), what)
					}
				}
			}
		})
	}
}
