// SPDX-License-Identifier: Apache-2.0

package template

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"strings"
)

// Float is a number of JSON with a fraction or an exponent. It prints without the exponent that Go's own has from a
// million on.
type Float float64

// String implements fmt.Stringer, as JSON writes numbers.
func (f Float) String() string {
	text, err := json.Marshal(float64(f))
	if err != nil {
		return "NaN" // no number of JSON is
	}
	return string(text)
}

// Values makes what a json.Decoder with UseNumber has read what templates take, in place. Numbers keep all their
// digits. A whole number is an int64 or uint64. One with a fraction or an exponent is a Float. Others are the digits as
// they were posted. A null is an empty map, so that fields of it can be asked for.
func Values(v any) any {
	switch v := v.(type) {
	case nil:
		return map[string]any(nil)
	case json.Number:
		return number(v)
	case map[string]any:
		for name, inner := range v {
			v[name] = Values(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = Values(inner)
		}
	}
	return v
}

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

// numberOf returns the number that a value is. It is exact.
func numberOf(v any) (*big.Float, bool) {
	f := new(big.Float)
	if n, ok := v.(json.Number); ok {
		nearest, err := n.Float64()
		return f.SetFloat64(nearest), err == nil || math.IsInf(nearest, 0)
	}
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return f.SetInt64(r.Int()), true
	case r.CanUint():
		return f.SetUint64(r.Uint()), true
	case r.CanFloat() && !math.IsNaN(r.Float()):
		return f.SetFloat64(r.Float()), true
	}
	return nil, false
}

// wholeOf returns the int that a value is; numbers of JSON are of several types.
func wholeOf(v any) (int, error) {
	if n, ok := numberOf(v); ok {
		if i, accuracy := n.Int64(); accuracy == big.Exact {
			return int(i), nil
		}
	}
	return 0, errors.New("not a whole number")
}

// suited makes a number what a verb of printf takes.
func suited(arg any, verb string) any {
	n, ok := numberOf(arg)
	switch {
	case !ok:
	case strings.Contains("dboOcU", verb):
		if _, isFloat := arg.(Float); isFloat {
			if i, accuracy := n.Int64(); accuracy == big.Exact {
				return i
			}
		}
	case strings.Contains("eEfFgG", verb):
		f, _ := n.Float64()
		return f
	case strings.Contains("sq", verb):
		text, _ := textOf(arg)
		return text
	}
	return arg
}

// compare compares two values: numbers of any type, texts, times.
func compare(b *budget, x, y any) (int, error) {
	errCompare := errors.New("these values cannot be compared")
	if m, ok := numberOf(x); ok {
		if n, ok := numberOf(y); ok {
			return m.Cmp(n), nil
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

// equal reports whether a value is one of others. A value that is missing equals an empty text.
func equal(b *budget, x any, others ...any) (bool, error) {
	if len(others) == 0 {
		return false, errors.New("nothing to compare with")
	}
	if err := b.spend(4 * valueWork * len(others)); err != nil {
		return false, err
	}
	for _, y := range others {
		var same bool
		switch p, q := reflect.ValueOf(x), reflect.ValueOf(y); {
		case isNil(p) || isNil(q):
			same = isEmpty(p) && isEmpty(q)
		case p.Kind() == reflect.Bool && q.Kind() == reflect.Bool:
			same = p.Bool() == q.Bool()
		default:
			order, err := compare(b, x, y)
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

func isEmpty(v reflect.Value) bool { return isNil(v) || v.Kind() == reflect.String && v.Len() == 0 }

func notEqual(b *budget, x, y any) (bool, error) {
	same, err := equal(b, x, y)
	return !same, err
}

func less(b *budget, x, y any) (bool, error) {
	order, err := compare(b, x, y)
	return order < 0, err
}

func atMost(b *budget, x, y any) (bool, error) {
	order, err := compare(b, x, y)
	return order <= 0, err
}

func greater(b *budget, x, y any) (bool, error) { return less(b, y, x) }

func atLeast(b *budget, x, y any) (bool, error) { return atMost(b, y, x) }
