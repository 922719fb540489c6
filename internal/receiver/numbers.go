// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Float is a number of JSON with a fraction or an exponent. It prints without the
// exponent that Go's own would have from a million on.
type Float float64

// String implements fmt.Stringer, as JSON writes numbers.
func (f Float) String() string {
	text, err := json.Marshal(float64(f))
	if err != nil {
		return "NaN" // no number of JSON is
	}
	return string(text)
}

// number is a number of JSON: a whole one is an int64 or uint64, one with a fraction or
// an exponent a Float, and one that is none of them the digits as they were written.
func number(n json.Number) any {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return u
	}
	if strings.ContainsAny(n.String(), ".eE") {
		if f, err := n.Float64(); err == nil {
			return Float(f)
		}
	}
	return n
}

// numbers makes all numbers in a decoded body what templates take.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case map[string]any:
		for name, inner := range v {
			if n, ok := inner.(json.Number); ok {
				v[name] = number(n)
			} else {
				numbers(inner)
			}
		}
	case []any:
		for i, inner := range v {
			if n, ok := inner.(json.Number); ok {
				v[i] = number(n)
			} else {
				numbers(inner)
			}
		}
	}
	return v
}

// numeric is a number of any kind: whole, or if not, real.
type numeric struct {
	negative bool
	whole    uint64 // its magnitude
	isWhole  bool
	real     float64
}

// numberOf returns the number that a value is.
func numberOf(v any) (numeric, bool) {
	if n, ok := v.(json.Number); ok {
		f, err := n.Float64()
		return numeric{real: f}, err == nil || math.IsInf(f, 0)
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i := r.Int()
		n := numeric{negative: i < 0, whole: uint64(i), isWhole: true}
		if i < 0 {
			n.whole = -n.whole
		}
		return n, true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return numeric{whole: r.Uint(), isWhole: true}, true
	case reflect.Float32, reflect.Float64:
		return numeric{real: r.Float()}, true
	}
	return numeric{}, false
}

func (n numeric) float() float64 {
	switch {
	case !n.isWhole:
		return n.real
	case n.negative:
		return -float64(n.whole)
	}
	return float64(n.whole)
}

func (n numeric) compare(m numeric) int {
	if !n.isWhole || !m.isWhole {
		return cmp.Compare(n.float(), m.float())
	}
	if n.negative != m.negative {
		if n.negative {
			return -1
		}
		return 1
	}
	if n.negative {
		n, m = m, n
	}
	return cmp.Compare(n.whole, m.whole)
}

// wholeOf returns the int that a value is; numbers of JSON are of several types.
func wholeOf(v any) (int, error) {
	n, ok := numberOf(v)
	if ok && !n.isWhole && n.real == math.Trunc(n.real) && math.Abs(n.real) <= math.MaxInt32 {
		return int(n.real), nil
	}
	if !ok || !n.isWhole || n.whole > math.MaxInt64 {
		return 0, errors.New("not a whole number")
	}
	if n.negative {
		return -int(n.whole), nil
	}
	return int(n.whole), nil
}

var errCompare = errors.New("these cannot be compared")

// compared compares two values: numbers of any type, texts, times.
func compared(b *budget, x, y any) (int, error) {
	if m, ok := numberOf(x); ok {
		if n, ok := numberOf(y); ok {
			return m.compare(n), nil
		}
		return 0, errCompare
	}
	if s, ok := x.(Time); ok {
		if t, ok := y.(Time); ok {
			return s.t.Compare(t.t), nil
		}
		return 0, errCompare
	}
	s, t := reflect.ValueOf(x), reflect.ValueOf(y)
	if s.Kind() != reflect.String || t.Kind() != reflect.String {
		return 0, errCompare
	}
	return strings.Compare(s.String(), t.String()), b.spend(min(s.Len(), t.Len()) / 8)
}

// equal tells whether a value is one of others.
func equal(b *budget, x any, others ...any) (bool, error) {
	if len(others) == 0 {
		return false, errors.New("nothing to compare with")
	}
	for _, y := range others {
		var same bool
		switch p, q := reflect.ValueOf(x), reflect.ValueOf(y); {
		case isNil(p) || isNil(q):
			same = isNil(p) && isNil(q)
		case p.Kind() == reflect.Bool && q.Kind() == reflect.Bool:
			same = p.Bool() == q.Bool()
		default:
			order, err := compared(b, x, y)
			if err != nil {
				return false, err
			}
			same = order == 0
		}
		if same {
			return true, nil
		}
	}
	return false, nil
}

func isNil(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Map, reflect.Slice, reflect.Pointer:
		return v.IsNil()
	}
	return false
}

// comparing makes a function of what the order of two values must be.
func comparing(holds func(order int) bool) func(*budget, any, any) (bool, error) {
	return func(b *budget, x, y any) (bool, error) {
		order, err := compared(b, x, y)
		return err == nil && holds(order), err
	}
}
