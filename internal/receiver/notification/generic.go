// SPDX-License-Identifier: Apache-2.0

package notification

import "github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"

// decodeGeneric decodes any JSON.
func decodeGeneric(body []byte, contentType string) (*Notification, error) {
	var v any
	if err := decodeJSON(body, contentType, &v); err != nil {
		return nil, err
	}
	return &Notification{Body: template.Values(v), Identity: string(body)}, nil
}
