// SPDX-License-Identifier: Apache-2.0

// Package tracing writes an OpenTelemetry trace for each message: a span for the message, and a span
// for each step of its delivery. Spans name messages and recipients; they never hold texts or keys.
//
// New returns a Tracer, which is a delivery.Observer; Recorded adds the writes of the status.
package tracing
