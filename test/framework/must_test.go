// SPDX-License-Identifier: Apache-2.0

package framework

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
)

func TestTry(t *testing.T) {
	broken := errors.New("broken")
	if err := Try(func() { Must(nil); Mustf(nil, "nothing") }); err != nil {
		t.Error(err)
	}
	if err := Try(func() { Must(broken); t.Error("Must has returned") }); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
	if err := Try(func() { Mustf(broken, "step %d", 1) }); !errors.Is(err, broken) || err.Error() != "step 1: broken" {
		t.Errorf("error %v", err)
	}
	defer func() {
		if r := recover(); r != "another panic" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = Try(func() { panic("another panic") })
}

func TestParallel(t *testing.T) {
	var sum atomic.Int64
	if err := Parallel(t.Context(), 3, 10, func(_ context.Context, i int) { sum.Add(int64(i)) }); err != nil || sum.Load() != 45 {
		t.Errorf("sum %d, %v", sum.Load(), err)
	}
	broken := errors.New("broken")
	var calls atomic.Int64
	err := Parallel(t.Context(), 2, 1000, func(ctx context.Context, i int) {
		if calls.Add(1); i == 0 {
			Must(broken)
		}
		<-ctx.Done()
	})
	if !errors.Is(err, broken) || calls.Load() > 2 {
		t.Errorf("%d calls, %v", calls.Load(), err)
	}
}
