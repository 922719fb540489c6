// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// decodeGeneric decodes any JSON.
func decodeGeneric(body []byte, _ string) (*Notification, error) {
	// Decode would read the first of several values.
	if !json.Valid(body) {
		var raw json.RawMessage
		return nil, fmt.Errorf("the body is not JSON: %w", withoutData(json.Unmarshal(body, &raw)))
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the body is not JSON: %w", withoutData(err))
	}
	return &Notification{Body: template.Values(v), Identity: string(body)}, nil
}
