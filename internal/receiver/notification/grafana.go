// SPDX-License-Identifier: Apache-2.0

package notification

import "encoding/json"

// decodeGrafana decodes the webhook of Grafana's alerting. It is Alertmanager's with more fields. Grafana up to version
// 8 posts a rule with its state instead, without alerts: templates get it as they get any other JSON.
func decodeGrafana(body []byte, contentType string) (*Notification, error) {
	n, err := decodeAlertmanager(body, contentType)
	if err == nil {
		return n, nil
	}
	legacy := struct {
		RuleName string            `json:"ruleName"`
		Alerts   []json.RawMessage `json:"alerts"`
	}{}
	if json.Unmarshal(body, &legacy) != nil || legacy.RuleName == "" || len(legacy.Alerts) > 0 {
		return nil, err
	}
	return decodeGeneric(body, contentType)
}
