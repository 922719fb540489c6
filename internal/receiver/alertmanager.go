// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// decodeAlertmanager reads a notification. Unknown fields, and a version other
// than 4, are no error: what is needed of it is there or not.
func decodeAlertmanager(body []byte) (*template.Notification, error) {
	if err := tooMuch(body); err != nil {
		return nil, err
	}
	n := &template.Notification{}
	if err := json.Unmarshal(body, n); err != nil {
		return nil, fmt.Errorf("the body is not an Alertmanager notification: %w", plain(err))
	}
	if len(n.Alerts) == 0 {
		return nil, fmt.Errorf("the body is not an Alertmanager notification: it has no alerts")
	}
	for i := range n.Alerts {
		if a := &n.Alerts[i]; a.Status == "" {
			a.Status = n.Status
		}
	}
	if n.CommonLabels == nil {
		narrow(n)
	}
	return n, nil
}

// decodeGeneric reads any JSON. See template.Values.
func decodeGeneric(body []byte) (any, error) {
	if err := tooMuch(body); err != nil {
		return nil, err
	}
	// Of a body that is more than one value Decode would read the first.
	var raw json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", plain(err))
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", plain(err))
	}
	return template.Values(v), nil
}

// Bounds of a body: decoded, a few bytes of it take some hundred in memory.
const (
	maxValues = 64 << 10
	maxDepth  = 200
)

// tooMuch tells of a body that has more values, or has them deeper in each other, than
// are decoded.
func tooMuch(body []byte) error {
	switch values, depth := shape(body); {
	case depth > maxDepth:
		return fmt.Errorf("the body has values more than %d deep in each other", maxDepth)
	case values > maxValues:
		return fmt.Errorf("the body has more than %d values", maxValues)
	}
	return nil
}

// shape is how many values a body has at the most, and how deep they are in each other.
// It counts what begins one, and leaves bad syntax to the decoder.
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

// plain is a decoder's error without what it read: bodies are not for logs.
func plain(err error) error {
	switch e := err.(type) { //nolint:errorlint // as the decoder returns them
	case *json.SyntaxError:
		return fmt.Errorf("bad syntax at byte %d", e.Offset)
	case *json.UnmarshalTypeError:
		return fmt.Errorf("field %q is of the wrong type", e.Field)
	}
	return fmt.Errorf("a value cannot be read")
}
