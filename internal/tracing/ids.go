// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
)

// traceID is the UID of a message without hyphens, so that users find the trace of a message, and operators continue
// each other's traces.
func traceID(uid types.UID) trace.TraceID {
	if id, err := trace.TraceIDFromHex(strings.ReplaceAll(string(uid), "-", "")); err == nil {
		return id
	}
	sum := sha256.Sum256([]byte(uid)) // not a UID of an API server
	return trace.TraceID(sum[:16])
}

// rootID is the id of the span of a message. It must be known before the span is written, at the end of the message.
func rootID(uid types.UID) trace.SpanID {
	sum := sha256.Sum256([]byte("teamtalk.io/trace/v1 " + uid))
	return trace.SpanID(sum[:8])
}

// rootKey is the context key of the UID of a message whose span is started.
type rootKey struct{}

// idGenerator generates deterministic ids for messages, and random ones for steps.
type idGenerator struct{}

// NewIDs implements sdktrace.IDGenerator. It is called for the spans of messages: all others have a parent.
func (idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	uid, _ := ctx.Value(rootKey{}).(types.UID)
	return traceID(uid), rootID(uid)
}

// NewSpanID implements sdktrace.IDGenerator.
func (idGenerator) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1) // never 0, which is no id
	return id
}

// sampler samples messages by a hash of their ids. OpenTelemetry's sampler uses bits that are the same in every UID.
type sampler struct{ ratio float64 }

// ShouldSample implements sdktrace.Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	decision := sdktrace.Drop
	sum := sha256.Sum256(p.TraceID[:])
	if s.ratio >= 1 || float64(binary.BigEndian.Uint64(sum[:8])>>11)/(1<<53) < s.ratio {
		decision = sdktrace.RecordAndSample
	}
	state := trace.SpanContextFromContext(p.ParentContext).TraceState()
	return sdktrace.SamplingResult{Decision: decision, Tracestate: state}
}

// Description implements sdktrace.Sampler.
func (sampler) Description() string { return "MessageRatio" }
