// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
	"github.com/teamtalk-io/teamtalk-operator/test/otlp"
)

const uid = types.UID("0b5d0c34-94c7-4f0e-8a3f-5d4c1f1f9a01")

var server = types.NamespacedName{Namespace: "chat", Name: "default"}

// start returns a Tracer that sends to a collector, and how to end it and get what has come there.
func start(t *testing.T, ratio float64) (*Tracer, func() []otlp.Span) {
	t.Helper()
	collector := otlp.Start()
	t.Cleanup(collector.Stop)
	tracer, err := New(t.Context(), Options{Endpoint: collector.URL(), Ratio: ratio, Service: "operator", Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tracer.Start(ctx) }()
	return tracer, func() []otlp.Span {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
		return collector.Spans()
	}
}

func newStep(uid types.UID, step delivery.Step, before, after v1alpha1.RecipientState, reason string) delivery.StepEvent {
	began := time.Now().Add(-time.Second)
	return delivery.StepEvent{
		Message: types.NamespacedName{Namespace: "chat", Name: "m"}, UID: uid,
		Server: server, Step: step, Began: began, Ended: began.Add(250 * time.Millisecond),
		Before: delivery.Progress{State: before},
		After: delivery.Progress{
			Recipient: v1alpha1.Recipient{Type: v1alpha1.RecipientUser, ID: 3}, State: after, Reason: reason, Message: "for humans",
		},
	}
}

func newMessage(uid types.UID, status metav1.ConditionStatus, reason string) *v1alpha1.TeamTalkMessage {
	text := "the text"
	m := &v1alpha1.TeamTalkMessage{ObjectMeta: metav1.ObjectMeta{
		Namespace: "chat", Name: "m", UID: uid, CreationTimestamp: metav1.NewTime(time.Now().Add(-time.Minute)),
	}}
	m.Spec.Content.Text = &text
	m.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionDelivered, Status: status, Reason: reason}}
	return m
}

func TestOneTraceForAMessage(t *testing.T) {
	tracer, end := start(t, 1)
	tracer.Observe(newStep(uid, delivery.StepSend, v1alpha1.StatePending, v1alpha1.StateAcknowledged, ""))
	tracer.Observe(newStep(uid, delivery.StepReadBack, v1alpha1.StateAcknowledged, v1alpha1.StateInDoubt, v1alpha1.ReasonNoAnswer))
	now := time.Now()
	tracer.Recorded(server, newMessage(uid, "Unknown", ""), now, now.Add(time.Millisecond), false)
	tracer.Recorded(server, newMessage(uid, "False", v1alpha1.ReasonOutcomeUnknown), now, now.Add(time.Millisecond), true)
	spans := end()

	var names []string
	byName := map[string]otlp.Span{}
	for _, span := range spans {
		names = append(names, span.GetName())
		byName[span.GetName()] = span
	}
	slices.Sort(names)
	if want := []string{"message", "read_back", "record", "record", "send"}; !slices.Equal(names, want) {
		t.Fatalf("spans %v, want %v", names, want)
	}
	duration := func(s otlp.Span) time.Duration {
		return time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano())
	}
	root, step := byName["message"], byName["read_back"]
	if d := duration(root).Round(2 * time.Second); len(root.GetParentSpanId()) != 0 ||
		root.Service != "operator" || d != time.Minute || root.Attribute("teamtalk.reason") != v1alpha1.ReasonOutcomeUnknown ||
		root.GetStatus().GetMessage() != v1alpha1.ReasonOutcomeUnknown {
		t.Errorf("the span of the message lasts %s: %v", d, root)
	}
	if d := duration(step); d != 250*time.Millisecond || step.Attribute("teamtalk.recipient.id") != "3" ||
		step.Attribute("teamtalk.state") != "InDoubt" || step.Attribute("teamtalk.server") != "chat/default" || step.GetStatus().GetMessage() != v1alpha1.ReasonNoAnswer {
		t.Errorf("read_back lasts %s: %v", d, step)
	}
	for _, s := range spans {
		if s.Trace() != strings.ReplaceAll(string(uid), "-", "") {
			t.Errorf("%s is of trace %s, want the message's UID", s.GetName(), s.Trace())
		}
		if s.GetName() != "message" && !bytes.Equal(s.GetParentSpanId(), root.GetSpanId()) {
			t.Errorf("%s is not below the message", s.GetName())
		}
		if text := s.String(); strings.Contains(text, "the text") || strings.Contains(text, "for humans") {
			t.Errorf("%s contains a text: %s", s.GetName(), text)
		}
	}
}

func TestRatio(t *testing.T) {
	tests := map[string]struct {
		ratio    float64
		min, max int
	}{
		"none":   {0, 0, 0},
		"all":    {1, 400, 400},
		"a half": {.5, 120, 280},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			tracer, end := start(t, tc.ratio)
			for i := range 400 {
				// As the API server makes them: some bits are the same in all.
				id := types.UID(fmt.Sprintf("%08x-94c7-4f0e-8a3f-5d4c1f1f9a01", i))
				tracer.Observe(newStep(id, delivery.StepSend, v1alpha1.StatePending, v1alpha1.StateAcknowledged, ""))
				now := time.Now()
				tracer.Recorded(types.NamespacedName{}, newMessage(id, "True", v1alpha1.ReasonDelivered), now, now, true)
			}
			perTrace := map[string]int{}
			for _, s := range end() {
				perTrace[s.Trace()]++
			}
			if n := len(perTrace); n < tc.min || n > tc.max {
				t.Errorf("%d of 400 are traced, want %d to %d", n, tc.min, tc.max)
			}
			for id, n := range perTrace {
				if n != 3 {
					t.Errorf("trace %s has %d of 3 spans", id, n)
				}
			}
		})
	}
}

func TestEnabled(t *testing.T) {
	tests := map[string]struct {
		endpoint string
		env      map[string]string
		want     bool
	}{
		"by default":               {},
		"the flag":                 {endpoint: "http://collector:4318", want: true},
		"the environment":          {env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, want: true},
		"the traces' environment":  {env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318"}, want: true},
		"turned off":               {endpoint: "http://collector:4318", env: map[string]string{"OTEL_SDK_DISABLED": "true"}},
		"turned off, traces alone": {endpoint: "http://collector:4318", env: map[string]string{"OTEL_TRACES_EXPORTER": "none"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"} {
				t.Setenv(k, tc.env[k])
			}
			if got := (Options{Endpoint: tc.endpoint}).Enabled(); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestLostCollector holds that a collector that is down costs a line in the log, and no error.
func TestLostCollector(t *testing.T) {
	collector := otlp.Start()
	collector.Stop()
	var lines []string
	log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
	tracer, err := New(t.Context(), Options{Endpoint: collector.URL(), Ratio: 1, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	tracer.Observe(newStep(uid, delivery.StepSend, v1alpha1.StatePending, v1alpha1.StateAcknowledged, ""))
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the end"))
	if err := tracer.Start(ctx); err != nil {
		t.Errorf("Start: %v", err)
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "traces are lost") {
		t.Errorf("the log has %q, want one line about lost traces", lines)
	}
}
