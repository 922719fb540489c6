// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// decodeAlertmanager decodes Alertmanager's webhook. Unknown fields, and versions other than 4, are accepted.
func decodeAlertmanager(body []byte, contentType string) (*Notification, error) {
	n := &template.Notification{}
	if json.Unmarshal(body, n) != nil {
		repaired, err := repair(body, contentType)
		if err != nil {
			return nil, err
		}
		n = &template.Notification{}
		if err := json.Unmarshal(repaired, n); err != nil {
			return nil, fmt.Errorf("the body is not an Alertmanager notification: %w", withoutData(err))
		}
	}
	if len(n.Alerts) == 0 {
		return nil, errors.New("the body has no alerts: Alertmanager's webhook has a list alerts; " +
			"a receiver of type Generic accepts any JSON")
	}
	for i := range n.Alerts {
		a := &n.Alerts[i]
		a.Status = cmp.Or(a.Status, n.Status)
		for name, value := range a.Values {
			if f, ok := value.(float64); ok {
				a.Values[name] = template.Float(f)
			}
		}
	}
	if n.CommonLabels == nil {
		summarize(n)
	}
	return &Notification{Alerts: n}, nil
}
