// Package otlp is a collector for tests: it takes OTLP over HTTP and keeps the
// spans that come.
package otlp

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxBody is more than any batch of a test has.
const maxBody = 64 << 20

// Span is one that came, with the name of the service that sent it.
type Span struct {
	*trace.Span
	Service string
}

// Trace returns the id of the span's trace, in hex.
func (s Span) Trace() string { return hex.EncodeToString(s.GetTraceId()) }

// Attribute returns an attribute as text; "": it is not there.
func (s Span) Attribute(key string) string {
	for _, a := range s.GetAttributes() {
		if a.GetKey() != key {
			continue
		}
		if v, ok := a.GetValue().GetValue().(*common.AnyValue_IntValue); ok {
			return fmt.Sprint(v.IntValue)
		}
		return a.GetValue().GetStringValue()
	}
	return ""
}

// Receiver is a collector.
type Receiver struct {
	server *http.Server
	url    string

	mu    sync.Mutex
	spans []Span
}

// Start starts a Receiver at a free port of loopback.
func Start(ctx context.Context) (*Receiver, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a collector: %w", err)
	}
	r := &Receiver{url: "http://" + l.Addr().String()}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", r.take)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := r.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err)
		}
	}()
	return r, nil
}

// URL is what goes into --otlp-endpoint.
func (r *Receiver) URL() string { return r.url }

// Stop ends the receiver.
func (r *Receiver) Stop() { _ = r.server.Close() }

// Spans returns what has come.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Span(nil), r.spans...)
}

func (r *Receiver) take(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	batch := &collector.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(body, batch)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range batch.GetResourceSpans() {
		service := ""
		for _, a := range of.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, Span{Span: s, Service: service})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}
