// SPDX-License-Identifier: Apache-2.0

// Package httpserver serves HTTP with a limit on everything that a caller controls:
// connections, headers, bodies, times, requests in flight, and requests in flight per caller.
//
// New returns a Server and Handle adds a Route to it. The limits of a request are in middleware.go, those of a
// connection in options.go. A handler reports what it learns about its request with Identify, SetErrorCode and
// AddLogValue.
package httpserver
