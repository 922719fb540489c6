// SPDX-License-Identifier: Apache-2.0

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

// flushTimeout bounds the export of the remaining spans at shutdown.
const flushTimeout = 5 * time.Second

// Options configure a Tracer.
type Options struct {
	// Endpoint is the base URL of the collector, without v1/traces. If empty, OpenTelemetry's
	// environment variables apply.
	Endpoint string
	// Ratio of the messages that are traced, 0 to 1. All operators choose the same messages.
	Ratio float64
	// Service is the default of OTEL_SERVICE_NAME.
	Service string
	Log     logr.Logger
}

// Enabled reports whether there is an endpoint, in the options or in OpenTelemetry's environment
// variables, and these do not disable traces.
func (o Options) Enabled() bool {
	if os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return o.Endpoint+os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")+os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// Validate returns a one-line error.
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

// Tracer writes traces. It never blocks: spans that the collector does not accept in time are dropped.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// New returns a Tracer that exports OTLP over HTTP. If the collector cannot be reached, Tracer logs it.
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
	// There is an error for each batch while the collector is down.
	sometimes := rate.Sometimes{Interval: time.Minute}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		sometimes.Do(func() { o.Log.Info("traces are lost", "reason", err.Error()) })
	}))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter), sdktrace.WithResource(about),
		sdktrace.WithIDGenerator(idGenerator{}), sdktrace.WithSampler(sampler{o.Ratio}),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/teamtalk-io/teamtalk-operator")}, nil
}

// Start implements manager.Runnable: when ctx is done, it exports the remaining spans.
func (t *Tracer) Start(ctx context.Context) error {
	<-ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err) // the operator must not end with an error
	}
	return nil
}

// NeedLeaderElection implements manager.LeaderElectionRunnable. Without it, Tracer ends after the
// engine, whose last spans it exports.
func (t *Tracer) NeedLeaderElection() bool { return false }
