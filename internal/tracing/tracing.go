// Package tracing writes one OpenTelemetry trace for each message: a span for the
// message and one for every step of its delivery. It listens to those who deliver;
// they know nothing of it. Where it is off, nothing of it runs.
//
// Spans name messages and recipients. They never hold text or keys.
package tracing

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"
)

// flushTimeout bounds the wait, at the end, for the collector to take what is left.
const flushTimeout = 5 * time.Second

// Options configure a Tracer.
type Options struct {
	// Endpoint is the collector's base URL, to which v1/traces is added; empty: what
	// OpenTelemetry's environment variables say. See Wanted.
	Endpoint string
	// Ratio of the messages that are traced, 0 to 1. It is the same messages for
	// every operator.
	Ratio float64
	// Service is the name of the program, unless OTEL_SERVICE_NAME gives another.
	Service string
	Log     logr.Logger
}

// Wanted reports whether traces are: an endpoint is given, by the flag or by
// OpenTelemetry's environment variables, and none of these turns them off.
func (o Options) Wanted() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return o.Endpoint != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" ||
		os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Validate says in one line what is wrong with the options.
func (o Options) Validate() error {
	if o.Ratio < 0 || o.Ratio > 1 {
		return fmt.Errorf("--trace-sampling-ratio must be between 0 and 1, not %v", o.Ratio)
	}
	if o.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("--otlp-endpoint must be a URL such as http://collector:4318, not %q", o.Endpoint)
	}
	return nil
}

// Tracer writes traces. It never blocks those that it listens to: what the
// collector does not take in time is dropped.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New returns a Tracer that sends in OTLP over HTTP. Whether the collector can be
// reached shows later, in the log.
func New(ctx context.Context, o Options) (*Tracer, error) {
	var to []otlptracehttp.Option
	if o.Endpoint != "" {
		u, err := url.JoinPath(o.Endpoint, "v1", "traces")
		if err != nil {
			return nil, fmt.Errorf("--otlp-endpoint: %w", err)
		}
		to = append(to, otlptracehttp.WithEndpointURL(u))
	}
	exporter, err := otlptracehttp.New(ctx, to...)
	if err != nil {
		return nil, fmt.Errorf("set up traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", o.Service)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("set up traces: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	// A collector that is down says so with every batch.
	now := rate.Sometimes{Interval: time.Minute}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		now.Do(func() { o.Log.Info("traces are lost", "reason", err.Error()) })
	}))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter), sdktrace.WithResource(about),
		sdktrace.WithIDGenerator(ids{}), sdktrace.WithSampler(sampler{o.Ratio}),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/teamtalk-io/teamtalk-operator")}, nil
}

// Start waits until ctx is done, then sends what is left. It is a manager's Runnable.
func (t *Tracer) Start(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err) // no reason for the operator to end with an error
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable: it ends after what
// it listens to.
func (t *Tracer) NeedLeaderElection() bool { return false }
