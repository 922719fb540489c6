// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Limits of a body: a value of a few bytes takes hundreds of bytes of memory when it is decoded.
const (
	maxValues = 64 << 10
	maxDepth  = 200
	// smallBody is the number of values up to which a body is small: decoded, it takes less than 1 MiB. The largest
	// takes about 20 MiB.
	smallBody = 4096
)

// IsLarge reports whether a body may take much memory when it is decoded. It also counts characters in texts, because
// the encoding decides where texts end. See ToUTF8.
func IsLarge(body []byte) bool {
	values := 1
	for _, c := range body {
		if c == ',' || c == '[' || c == '{' {
			values++
		}
	}
	return values > smallBody
}

// checkLimits returns an error if a body has too many values, or too many levels.
func checkLimits(body []byte) error {
	switch values, depth := shape(body); {
	case depth > maxDepth:
		return fmt.Errorf("the body has values nested more than %d deep", maxDepth)
	case values > maxValues:
		return fmt.Errorf("the body has more than %d values", maxValues)
	}
	return nil
}

// shape returns how many values a body has at most, and how many levels. It ignores bad syntax, which the decoder
// reports.
func shape(body []byte) (values, deepest int) {
	values = 1
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == ',':
			values++
		case c == '[' || c == '{':
			values, depth = values+1, depth+1
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return values, deepest
}

// withoutData returns a decoder's error without the data that it quotes: bodies must not be in logs.
func withoutData(err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("bad syntax at byte %d", e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q is of the wrong type", e.Field)
	}
	return errors.New("a value cannot be read")
}
