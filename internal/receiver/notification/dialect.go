// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// Dialect is a format of bodies.
type Dialect struct {
	// Decode decodes a body of a content type, which is in UTF-8. Errors are for the sender and for logs: they do not
	// quote the body.
	Decode func(body []byte, contentType string) (*Notification, error)
}

// dialects are those of the types of receivers.
var dialects = map[v1alpha1.ReceiverType]Dialect{
	v1alpha1.ReceiverAlertmanager: {Decode: decodeAlertmanager},
	v1alpha1.ReceiverGeneric:      {Decode: decodeGeneric},
}

// Notification is a decoded body.
type Notification struct {
	// Alerts is set if the dialect has alerts with labels, by which they are split and identified.
	Alerts *template.Notification
	// Otherwise Body is what templates get, and Identity identifies it: repeats have the same one.
	Body     any
	Identity string
}

// Decode returns the messages of a body that was posted to a receiver. Refused is the number of alerts that name
// recipients that spec.allow does not list.
func Decode(r *v1alpha1.TeamTalkReceiver, body []byte, contentType string) (list []Message, refused int, err error) {
	d, known := dialects[r.Spec.Type]
	if !known {
		return nil, 0, fmt.Errorf("spec.type must be Alertmanager or Generic, not %q", r.Spec.Type)
	}
	if body, err = toUTF8(body, contentType); err != nil {
		return nil, 0, err
	}
	if err := checkLimits(body); err != nil {
		return nil, 0, err
	}
	n, err := d.Decode(body, contentType)
	if err != nil {
		return nil, 0, err
	}
	if n.Alerts == nil {
		id := Hash("body", r.Namespace, r.Name, n.Identity)
		return limitRecipients([]Message{{Hash: id, To: r.Spec.To.All(), Body: n.Body}}), 0, nil
	}
	list, refused = split(r, n.Alerts)
	return limitRecipients(list), refused, nil
}
