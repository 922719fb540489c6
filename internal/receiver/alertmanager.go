package receiver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
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

// Remove returns the set without these names.
func (kv KV) Remove(names []string) KV {
	rest := KV{}
	for name, value := range kv {
		if !slices.Contains(names, name) {
			rest[name] = value
		}
	}
	return rest
}

// Alert is one alert of a notification.
type Alert struct {
	Status       string    `json:"status"`
	Labels       KV        `json:"labels"`
	Annotations  KV        `json:"annotations"`
	StartsAt     time.Time `json:"startsAt"`
	EndsAt       time.Time `json:"endsAt"`
	GeneratorURL string    `json:"generatorURL"`
	Fingerprint  string    `json:"fingerprint"`
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

// decodeGeneric reads any JSON.
func decodeGeneric(body []byte) (any, error) {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", plain(err))
	}
	return v, nil
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
