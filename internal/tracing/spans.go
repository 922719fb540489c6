// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/delivery"
)

// Observe implements delivery.Observer: it writes a span for each step.
func (t *Tracer) Observe(k delivery.StepEvent) {
	ctx := messageContext(k.UID)
	attributes := append(commonAttributes(k.Message, k.UID, k.Server),
		attribute.String("teamtalk.recipient.type", string(k.After.Type)),
		attribute.Int64("teamtalk.recipient.id", int64(k.After.ID)),
		attribute.String("teamtalk.state.before", string(k.Before.State)),
		attribute.String("teamtalk.state", string(k.After.State)),
		attribute.Int64("teamtalk.attempts", int64(k.After.Attempts)),
	)
	if k.After.Reason != "" {
		attributes = append(attributes, attribute.String("teamtalk.reason", k.After.Reason))
	}
	_, span := t.tracer.Start(ctx, k.Step.String(), trace.WithTimestamp(k.Began),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	if k.Retry() != "" || k.After.State == v1alpha1.StateFailed ||
		k.After.State == v1alpha1.StateInDoubt && k.Before.State != v1alpha1.StateInDoubt {
		span.SetStatus(codes.Error, k.After.Reason)
	}
	span.End(trace.WithTimestamp(k.Ended))
}

// Recorded writes a span for a write of the status, and the span of the message if it is the last one.
// server is empty if none was found.
func (t *Tracer) Recorded(server types.NamespacedName, m *v1alpha1.TeamTalkMessage, began, written time.Time,
	finished bool,
) {
	attributes := commonAttributes(types.NamespacedName{Namespace: m.Namespace, Name: m.Name}, m.UID, server)
	_, span := t.tracer.Start(messageContext(m.UID), "record", trace.WithTimestamp(began),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(written))
	if !finished {
		return
	}
	ctx := context.WithValue(context.Background(), rootKey{}, m.UID)
	_, root := t.tracer.Start(ctx, "message", trace.WithTimestamp(m.CreationTimestamp.Time), trace.WithNewRoot(),
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(attributes...))
	if c := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionDelivered); c != nil {
		root.SetAttributes(attribute.String("teamtalk.reason", c.Reason),
			attribute.Int("teamtalk.recipients", len(m.Status.Recipients)))
		if c.Status != "True" {
			root.SetStatus(codes.Error, c.Reason)
		}
	}
	root.End(trace.WithTimestamp(written))
}

// messageContext returns a context whose spans are children of the message's span.
func messageContext(uid types.UID) context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID(uid), SpanID: rootID(uid), TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

func commonAttributes(message types.NamespacedName, uid types.UID, server types.NamespacedName) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("k8s.namespace.name", message.Namespace),
		attribute.String("teamtalk.message.name", message.Name),
		attribute.String("teamtalk.message.uid", string(uid)),
	}
	if server.Name != "" {
		all = append(all, attribute.String("teamtalk.server", server.String()))
	}
	return all
}
