// SPDX-License-Identifier: Apache-2.0

package observability

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/devserver"
	"github.com/teamtalk-io/teamtalk-operator/test/otlp"
)

// TestTraces delivers messages and waits for the trace of each: one, whose id is
// the message's UID, with a span for every step.
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
