// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/apimachinery/pkg/types"
)

// traceID is the UID of a message without hyphens, so that users find the trace of a message, and
// operators continue each other's traces.
func traceID(uid types.UID) trace.TraceID {
	var id trace.TraceID
	b, err := hex.DecodeString(strings.ReplaceAll(string(uid), "-", ""))
	if err != nil || len(b) != len(id) {
		// Not a UID of an API server. The id must only be deterministic.
		sum := sha256.Sum256([]byte(uid))
		b = sum[:]
	}
	copy(id[:], b)
	return id
}

// rootID is the id of the span of a message. It must be known before the span is written, at the end of the message.
func rootID(uid types.UID) trace.SpanID {
	var id trace.SpanID
	sum := sha256.Sum256([]byte("teamtalk.io/trace/v1 " + uid))
	copy(id[:], sum[:])
	return id
}

// rootKey is the context key of the UID of a message whose span is started.
type rootKey struct{}

// idGenerator generates deterministic ids for messages, and random ones for steps.
type idGenerator struct{}

var _ sdktrace.IDGenerator = idGenerator{}

// NewIDs implements sdktrace.IDGenerator.
func (g idGenerator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if uid, ok := ctx.Value(rootKey{}).(types.UID); ok {
		return traceID(uid), rootID(uid)
	}
	var id trace.TraceID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (idGenerator) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1) // never 0, which is no id
	return id
}

// sampler samples messages by a hash of their ids. OpenTelemetry's sampler uses bits that are the same in every UID.
type sampler struct{ ratio float64 }

var _ sdktrace.Sampler = sampler{}

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
