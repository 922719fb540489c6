// SPDX-License-Identifier: Apache-2.0

// Package otlp provides a trace collector for tests.
//
// Start starts a Receiver, which accepts OTLP over HTTP and keeps the spans.
package otlp

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxBody exceeds any batch of a test, in bytes.
const maxBody = 64 << 20

// Span is a received span with the name of its service.
type Span struct {
	*trace.Span
	Service string
}

// Trace returns the id of the span's trace, in hex.
func (s Span) Trace() string { return hex.EncodeToString(s.GetTraceId()) }

// Attribute returns an attribute as text, or "" if there is none.
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

// Receiver collects spans.
type Receiver struct {
	server *httptest.Server

	mu    sync.Mutex
	spans []Span
}

// Start starts a Receiver on a free loopback port.
func Start() *Receiver {
	r := &Receiver{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", r.receive)
	r.server = httptest.NewServer(mux)
	return r
}

// URL returns the value for --otlp-endpoint.
func (r *Receiver) URL() string { return r.server.URL }

// Stop stops the receiver.
func (r *Receiver) Stop() { r.server.Close() }

// Spans returns the received spans.
func (r *Receiver) Spans() []Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.spans)
}

func (r *Receiver) receive(w http.ResponseWriter, req *http.Request) {
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
	for _, resource := range batch.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, Span{Span: s, Service: service})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}
