// SPDX-License-Identifier: Apache-2.0

package template

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

const (
	// TextWork is the work that all executions for one text may do, and maxWork what one of them may do, in bytes.
	// A unit takes some 10 ns.
	TextWork = 4 * maxWork
	maxWork  = 8 << 20
	// maxValue is the largest size of a call's arguments, and of its result, in bytes.
	maxValue = 2 << 20
	// maxDepth limits nested blocks and parentheses: each takes a few hundred bytes of stack.
	maxDepth = 4000
	// maxNested is how many lists and maps may be in each other. Bodies have fewer, see maxDepth in the decoder.
	maxNested = 250

	sourceWork = 4   // of a byte of a block's source
	callWork   = 128 // of a call or a block, in addition to the bytes that it reads and writes
	valueWork  = 16  // of a value in a list or map
)

var (
	errWork   = errors.New("it takes too long, or its result is too large")
	errOutput = errors.New("its text is too long")
	errDepth  = errors.New("blocks or template calls are nested too deep")
	errSize   = fmt.Errorf("the arguments or the result of a function exceed %d MiB", maxValue>>20)
)

// Limits are the limits of an execution.
type Limits struct {
	// Work is what all executions for one text may still do. Each takes what it does from it, and does maxWork at most.
	Work int
	// Output is the longest output, in bytes.
	Output int
	// Zone is the time zone in which dates are shown. If nil, it is UTC.
	Zone *time.Location
}

// budget is the rest of the limits of one execution. It receives the output.
type budget struct {
	ctx context.Context
	// work is left, depth is used.
	work, depth int
	// listMethod and setMethod are the work of one call of a method: of a list of alerts, and of labels and times.
	listMethod, setMethod int
	limit                 int
	out                   strings.Builder
	patterns              map[string]*pattern
	routeLabels           KV
	// zone is the time zone of times that have none, and in which times are shown.
	zone *time.Location
	// stopped is why the text is not needed any more.
	stopped error
}

// Write implements io.Writer. It keeps as much as there is room for.
func (b *budget) Write(p []byte) (int, error) {
	if room := b.limit - b.out.Len(); len(p) > room {
		n, _ := b.out.Write(p[:room])
		return n, errOutput
	}
	return b.out.Write(p)
}

// spend counts work.
func (b *budget) spend(work int) error {
	if err := b.ctx.Err(); err != nil {
		b.stopped = fmt.Errorf("the request ends before its text is rendered: %w", err)
		return b.stopped
	}
	if work < 0 || work > b.work {
		return errWork
	}
	b.work -= work
	return nil
}

// size is what it takes to read a value: the bytes of its texts, and valueWork for each value in it.
// It is errSize if that is more than a limit.
func size(v any, limit int) (int, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case string:
		if len(v) > limit {
			return 0, errSize
		}
		return len(v), nil
	}
	return sizeOf(reflect.ValueOf(v), limit, maxNested)
}

// sizeOf is size for a value within so many others. Data has no cycles, but what templates make of it may hold one
// value many times.
func sizeOf(v reflect.Value, limit, nested int) (total int, err error) {
	if nested == 0 {
		return 0, errSize
	}
	total = valueWork
	add := func(inner reflect.Value) bool {
		var n int
		if n, err = sizeOf(inner, limit-total, nested-1); err == nil {
			total += n
		}
		return err == nil
	}
	switch v.Kind() {
	case reflect.String:
		total += v.Len()
	case reflect.Interface, reflect.Pointer:
		if !v.IsNil() {
			return sizeOf(v.Elem(), limit, nested-1)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; i < v.Len() && add(v.Index(i)); i++ {
		}
	case reflect.Map:
		for i := v.MapRange(); i.Next() && add(i.Key()) && add(i.Value()); {
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Time]() {
			return maxTimeText, nil
		}
		for i := 0; i < v.NumField() && add(v.Field(i)); i++ {
		}
	}
	if err == nil && total > limit {
		err = errSize
	}
	return total, err
}

// names is the number of names of a map and their bytes, as work.
func names[V any](m map[string]V) (work int) {
	for name := range m {
		work += valueWork + len(name)
	}
	return work
}
