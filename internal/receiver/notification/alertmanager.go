// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// decodeAlertmanager decodes Alertmanager's webhook. Unknown fields, and versions other than 4, are accepted.
func decodeAlertmanager(body []byte, _ string) (*Notification, error) {
	n := &template.Notification{}
	if err := json.Unmarshal(body, n); err != nil {
		return nil, fmt.Errorf("the body is not an Alertmanager notification: %w", withoutData(err))
	}
	if len(n.Alerts) == 0 {
		return nil, errors.New("the body is not an Alertmanager notification: it has no alerts")
	}
	for i := range n.Alerts {
		if a := &n.Alerts[i]; a.Status == "" {
			a.Status = n.Status
		}
	}
	if n.CommonLabels == nil {
		summarize(n)
	}
	return &Notification{Alerts: n}, nil
}
