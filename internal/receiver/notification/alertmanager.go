// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

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

// summarize sets what a notification says about all of its alerts.
func summarize(n *template.Notification) {
	n.Status = template.StatusResolved
	if len(n.Alerts.Firing()) > 0 {
		n.Status = template.StatusFiring
	}
	n.CommonLabels = common(n.Alerts, func(a template.Alert) template.KV { return a.Labels })
	n.CommonAnnotations = common(n.Alerts, func(a template.Alert) template.KV { return a.Annotations })
}

// common returns what all alerts have.
func common(alerts template.Alerts, of func(template.Alert) template.KV) template.KV {
	all := template.KV{}
	maps.Copy(all, of(alerts[0]))
	for _, a := range alerts[1:] {
		maps.DeleteFunc(all, func(name, value string) bool {
			other, ok := of(a)[name]
			return !ok || other != value
		})
	}
	return all
}
