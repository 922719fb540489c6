// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// kind is the required type of a field of a notification.
type kind int

const (
	text kind = iota
	labels
	moment
	number
	object
)

// expected tells what a field must be.
var expected = map[kind]string{
	text: "a text", labels: "an object of texts", moment: `a time in RFC 3339, such as "2026-03-01T16:05:00Z"`,
	number: "a whole number", object: "an object",
}

// The fields of a notification and of an alert.
var (
	notificationFields = map[string]kind{
		"version": text, "groupKey": text, "status": text, "receiver": text, "externalURL": text, "truncatedAlerts": number,
		"groupLabels": labels, "commonLabels": labels, "commonAnnotations": labels, "routeLabels": labels,
		"notification_reason": text, "title": text, "state": text, "message": text, "orgId": number,
	}
	alertFields = map[string]kind{
		"status": text, "labels": labels, "annotations": labels, "startsAt": moment, "endsAt": moment,
		"generatorURL": text, "fingerprint": text, "silenceURL": text, "dashboardURL": text, "panelURL": text,
		"imageURL": text, "values": object, "valueString": text, "orgId": number,
	}
)

// repair rewrites a notification that does not decode, so that an alert is not lost because a value is a number instead
// of a text, or a time is missing. The error names the field that cannot be used, and what it must be.
func repair(body []byte, contentType string) ([]byte, error) {
	var v any
	if err := decodeJSON(body, contentType, &v); err != nil {
		return nil, err
	}
	if _, isList := v.([]any); isList {
		return nil, errors.New("the body is a list, as Prometheus posts alerts to Alertmanager: " +
			"have Prometheus post to Alertmanager, and Alertmanager's webhook to this receiver")
	}
	n, isObject := v.(map[string]any)
	if !isObject {
		return nil, errors.New("the body must be an object, with a list alerts")
	}
	alerts, isList := n["alerts"].([]any)
	if !isList {
		return nil, errors.New("alerts must be a list of alerts")
	}
	if err := repairFields("", n, notificationFields); err != nil {
		return nil, err
	}
	for i, a := range alerts {
		alert, isObject := a.(map[string]any)
		if !isObject {
			return nil, fmt.Errorf("alerts[%d] must be an object", i)
		}
		if err := repairFields(fmt.Sprintf("alerts[%d].", i), alert, alertFields); err != nil {
			return nil, err
		}
	}
	return json.Marshal(n)
}

// repairFields repairs the fields of an object, whose names in an error have a prefix.
func repairFields(prefix string, fields map[string]any, kinds map[string]kind) error {
	for name, kind := range kinds {
		value, ok := repaired(fields[name], kind)
		if !ok {
			return fmt.Errorf("%s%s must be %s", prefix, name, expected[kind])
		}
		if value == nil {
			delete(fields, name)
		} else {
			fields[name] = value
		}
	}
	return nil
}

// repaired returns a value converted to its kind, or nil if it is missing.
func repaired(value any, want kind) (any, bool) {
	if value == nil {
		return nil, true
	}
	set, isObject := value.(map[string]any)
	switch want {
	case text:
		return scalar(value)
	case number:
		digits, ok := scalar(value)
		whole := json.Number(fmt.Sprint(digits))
		if _, err := whole.Int64(); !ok || err != nil {
			return nil, digits == ""
		}
		return whole, true
	case moment:
		if blank, isText := value.(string); isText && strings.TrimSpace(blank) == "" {
			return nil, true
		}
		t, err := template.ParseTime(value)
		return t, err == nil
	case labels:
		for name, inner := range set {
			if inner == nil {
				delete(set, name)
			} else if scalar, ok := scalar(inner); ok {
				set[name] = scalar
			} else {
				encoded, _ := json.Marshal(inner) // it was decoded from JSON
				set[name] = string(encoded)
			}
		}
	}
	return set, isObject
}

// scalar returns the text that a text, a number or a boolean is.
func scalar(value any) (any, bool) {
	switch value.(type) {
	case string, json.Number, bool:
		return fmt.Sprint(value), true
	}
	return nil, false
}

// form is how the body of a form begins.
var form = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.%-]*=`)

// decodeJSON decodes a body that must be one JSON value. Numbers are decoded as json.Number.
func decodeJSON(body []byte, contentType string, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	err := d.Decode(v)
	// A Decoder reads the first of several values.
	if err == nil && len(bytes.Trim(body[d.InputOffset():], " \t\r\n")) == 0 {
		return nil
	}
	var raw json.RawMessage
	if bad := json.Unmarshal(body, &raw); bad != nil {
		err = bad
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	switch trimmed := bytes.TrimSpace(body); {
	case len(trimmed) == 0:
		return errors.New("the body is empty: send JSON")
	case trimmed[0] == '<':
		return errors.New("the body is HTML or XML: send JSON")
	case form.Match(trimmed), strings.HasPrefix(mediaType, "multipart/"):
		return errors.New("the body is a form: send JSON, with Content-Type: application/json")
	}
	return fmt.Errorf("the body is not JSON: %w", withoutData(err))
}
