// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

type failure struct{ error }

// Must ends the call of Try around it if err is not nil. It is to the scenarios of test
// programs what t.Fatal is to tests: it must be called in the goroutine of Try.
func Must(err error) {
	if err != nil {
		panic(failure{err})
	}
}

// Mustf is Must, with a description of the attempt.
func Mustf(err error, format string, args ...any) {
	if err != nil {
		panic(failure{fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)})
	}
}

// MustGet returns v, or is Must.
func MustGet[T any](v T, err error) T {
	Must(err)
	return v
}

// Failf is Must with a new error.
func Failf(format string, args ...any) { Must(fmt.Errorf(format, args...)) }

// Try calls f and returns the error that Must was called with, or nil if f returned.
func Try(f func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r.error
		default:
			panic(r)
		}
	}()
	f()
	return nil
}

// Parallel calls do for 0 to n-1, up to width at a time, until one fails or ctx ends. do may call Must.
func Parallel(ctx context.Context, width, n int, do func(ctx context.Context, i int)) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(width, n) {
		g.Go(func() error {
			return Try(func() {
				for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
					Must(context.Cause(ctx))
					do(ctx, i)
				}
			})
		})
	}
	return g.Wait()
}
