// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Statuses of a notification, and of an alert.
const (
	statusFiring   = "firing"
	statusResolved = "resolved"
)

// KV is a set of labels or annotations. Its methods are for templates, named as in
// Alertmanager's own.
type KV map[string]string

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// Pairs is a list of names with their values.
type Pairs []Pair

// SortedPairs returns the names with their values, alertname first, then by name.
func (kv KV) SortedPairs() Pairs {
	pairs := make(Pairs, 0, len(kv))
	for _, name := range kv.Names() {
		pairs = append(pairs, Pair{name, kv[name]})
	}
	return pairs
}

// Names returns the names, alertname first, then in order.
func (kv KV) Names() []string {
	names := make([]string, 0, len(kv))
	for name := range kv {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == "alertname":
			return -1
		case b == "alertname":
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

// Values returns the values, in the order of their names.
func (kv KV) Values() []string {
	values := make([]string, 0, len(kv))
	for _, name := range kv.Names() {
		values = append(values, kv[name])
	}
	return values
}

// maxRemoved is how many names Remove takes.
const maxRemoved = 64

// Remove returns the set without these names.
func (kv KV) Remove(names []string) (KV, error) {
	if len(names) > maxRemoved {
		return nil, fmt.Errorf("more than %d names to remove", maxRemoved)
	}
	longest := 0
	for name := range kv {
		longest = max(longest, len(name))
	}
	rest := maps.Clone(kv)
	for _, name := range names {
		if len(name) <= longest { // no other is worth a hash
			delete(rest, name)
		}
	}
	return rest, nil
}

// Alert is one alert of a notification.
type Alert struct {
	Status       string `json:"status"`
	Labels       KV     `json:"labels"`
	Annotations  KV     `json:"annotations"`
	StartsAt     Time   `json:"startsAt"`
	EndsAt       Time   `json:"endsAt"`
	GeneratorURL string `json:"generatorURL"`
	Fingerprint  string `json:"fingerprint"`
}

// Alerts is a list of alerts.
type Alerts []Alert

// Firing returns those that are firing.
func (as Alerts) Firing() Alerts {
	return as.with(func(a Alert) bool { return a.Status != statusResolved })
}

// Resolved returns those that are resolved.
func (as Alerts) Resolved() Alerts {
	return as.with(func(a Alert) bool { return a.Status == statusResolved })
}

func (as Alerts) with(want func(Alert) bool) Alerts {
	var some Alerts
	for _, a := range as {
		if want(a) {
			some = append(some, a)
		}
	}
	return some
}

// Notification is what Alertmanager posts, version 4, and what templates see.
type Notification struct {
	Version           string `json:"version"`
	GroupKey          string `json:"groupKey"`
	Status            string `json:"status"`
	Receiver          string `json:"receiver"`
	GroupLabels       KV     `json:"groupLabels"`
	CommonLabels      KV     `json:"commonLabels"`
	CommonAnnotations KV     `json:"commonAnnotations"`
	ExternalURL       string `json:"externalURL"`
	TruncatedAlerts   uint64 `json:"truncatedAlerts"`
	Alerts            Alerts `json:"alerts"`
}

// decodeAlertmanager reads a notification. Unknown fields, and a version other
// than 4, are no error: what is needed of it is there or not.
func decodeAlertmanager(body []byte) (*Notification, error) {
	if err := tooMuch(body); err != nil {
		return nil, err
	}
	n := &Notification{}
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
		n.narrow()
	}
	return n, nil
}

// decodeGeneric reads any JSON. Its numbers keep all their digits, see number.
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
	return numbers(v), nil
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
