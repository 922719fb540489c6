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

// traceID is a message's UID without its hyphens: who has the one finds the other,
// and an operator goes on with the trace that another has begun.
func traceID(uid types.UID) trace.TraceID {
	var id trace.TraceID
	b, err := hex.DecodeString(strings.ReplaceAll(string(uid), "-", ""))
	if err != nil || len(b) != len(id) {
		// Not the API server's own; any will do that is always the same.
		sum := sha256.Sum256([]byte(uid))
		b = sum[:]
	}
	copy(id[:], b)
	return id
}

// rootID is the id of the message's own span, known before the span is written:
// that is when the message has come to its end.
func rootID(uid types.UID) trace.SpanID {
	var id trace.SpanID
	sum := sha256.Sum256([]byte("teamtalk.io/trace/v1 " + uid))
	copy(id[:], sum[:])
	return id
}

// rootKey is under which a context holds the UID whose own span is begun.
type rootKey struct{}

// ids gives messages their own ids, and steps random ones.
type ids struct{}

var _ sdktrace.IDGenerator = ids{}

// NewIDs implements sdktrace.IDGenerator.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if uid, ok := ctx.Value(rootKey{}).(types.UID); ok {
		return traceID(uid), rootID(uid)
	}
	var id trace.TraceID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	return id, i.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID {
	var id trace.SpanID
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1) // never 0, which is no id
	return id
}

// sampler takes a part of the messages. OpenTelemetry's own reads bits of the id
// that are the same in every UID.
type sampler struct{ ratio float64 }

var _ sdktrace.Sampler = sampler{}

// ShouldSample implements sdktrace.Sampler.
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	decision := sdktrace.Drop
	sum := sha256.Sum256(p.TraceID[:])
	if s.ratio >= 1 || float64(binary.BigEndian.Uint64(sum[:8])>>11)/(1<<53) < s.ratio {
		decision = sdktrace.RecordAndSample
	}
	return sdktrace.SamplingResult{Decision: decision,
		Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
}

// Description implements sdktrace.Sampler.
func (sampler) Description() string { return "MessageRatio" }
