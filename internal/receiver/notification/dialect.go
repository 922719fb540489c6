// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"context"
	"errors"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/expression"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// Errors for which services have other answers than for a body that cannot be read. Decode wraps them.
var (
	// ErrNoText: the body has nothing that can be read.
	ErrNoText = errors.New("there is no text")
	// ErrMessageType: the service has no such type of message.
	ErrMessageType = errors.New("unknown type of message")
)

// Dialect is a format of bodies.
type Dialect struct {
	// Decode decodes a body of a content type, which is in UTF-8. Errors are for the sender and for logs: they do not
	// quote the body.
	Decode func(body []byte, contentType string) (*Notification, error)
}

// dialects holds the dialects of the types of receivers.
var dialects = map[v1alpha1.ReceiverType]Dialect{
	v1alpha1.ReceiverAlertmanager: {Decode: decodeAlertmanager},
	v1alpha1.ReceiverGrafana:      {Decode: decodeGrafana},
	v1alpha1.ReceiverSlack:        {Decode: decodeSlack},
	v1alpha1.ReceiverDingTalk:     {Decode: chat{text: dingTalkText}.decode},
	v1alpha1.ReceiverWeCom:        {Decode: chat{text: weComText}.decode},
	v1alpha1.ReceiverFeishu:       {Decode: chat{feishuText, unfoldFeishu}.decode},
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

// payload is the data for expressions: the JSON that was posted.
func (n *Notification) payload() any {
	if post, isPost := n.Body.(*template.Post); isPost {
		return post.Payload
	}
	return n.Body
}

// Result is the result of decoding a body.
type Result struct {
	Messages []Message
	// Refused is the number of alerts, or bodies, that name recipients that spec.allow does not list.
	Refused int
	// Filtered is the number of alerts, or bodies, that spec.filter drops.
	Filtered int
	// ResolvedGroup and ResolvedKeys are the hashes of messages whose alerts are resolved, see Message. ResolvedKeys has
	// that of each resolved alert alone, and that of all alerts of a message. They include alerts that spec.filter drops.
	ResolvedGroup string
	ResolvedKeys  []string
	// Faults are why expressions were not used.
	Faults []expression.Fault
}

// Decode returns the messages of a body that was posted to a receiver.
func Decode(ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte, contentType string) (Result, error) {
	d, known := dialects[r.Spec.Type]
	if !known {
		return Result{}, fmt.Errorf("spec.type %q is not known to this version", r.Spec.Type)
	}
	body, err := ToUTF8(body, contentType)
	if err != nil {
		return Result{}, err
	}
	if err := checkLimits(body); err != nil {
		return Result{}, err
	}
	n, err := d.Decode(body, contentType)
	if err != nil {
		return Result{}, err
	}
	var result Result
	if n.Alerts != nil {
		result = split(ctx, r, n.Alerts)
	} else {
		result = whole(ctx, r, n)
	}
	result.Messages = limitRecipients(r, result.Messages)
	return result, nil
}
