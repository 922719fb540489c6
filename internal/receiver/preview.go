// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// Preview is a message that a receiver would make.
type Preview struct {
	// Name of the first message of this notification.
	Name string
	To   v1alpha1.Recipients
	Text string
	// Fault is why the declared template did not make the text.
	Fault error
}

// PreviewOf makes of a body what a receiver would, and sends nothing. Refused counts
// alerts that name recipients whom they may not.
func PreviewOf(ctx context.Context, r *v1alpha1.TeamTalkReceiver,
	body []byte) (previews []Preview, refused int, err error) {
	if r.Spec.Type != v1alpha1.ReceiverAlertmanager && r.Spec.Type != v1alpha1.ReceiverGeneric {
		return nil, 0, fmt.Errorf("spec.type must be Alertmanager or Generic, not %q", r.Spec.Type)
	}
	if len(r.Spec.To.All()) == 0 {
		return nil, 0, fmt.Errorf("spec.to names nobody")
	}
	parts, refused, err := read(r, body)
	if err != nil {
		return nil, 0, err
	}
	templates, _ := template.ParseSet(&r.Spec) // its fault is that of each text
	for _, p := range parts {
		text, fault := render(ctx, templates, r, p)
		previews = append(previews, Preview{Name: nameOf(r, p.hash, 1), To: recipientSet(p.to), Text: text, Fault: fault})
	}
	return previews, refused, nil
}

// read makes the parts of a body.
func read(r *v1alpha1.TeamTalkReceiver, body []byte) (parts []part, refused int, err error) {
	if r.Spec.Type == v1alpha1.ReceiverGeneric {
		v, err := decodeGeneric(body)
		if err != nil {
			return nil, 0, err
		}
		return []part{{hash: hash("body", r.Namespace, r.Name, string(body)), to: r.Spec.To.All(), body: v}}, 0, nil
	}
	n, err := decodeAlertmanager(body)
	if err != nil {
		return nil, 0, err
	}
	parts, refused = split(r, n)
	return bounded(parts), refused, nil
}

// bounded makes several of a part with more recipients than a message may have. Their
// hashes follow from the part's, so that each is once.
func bounded(parts []part) []part {
	var all []part
	for _, p := range parts {
		i := 0
		for to := range slices.Chunk(p.to, v1alpha1.MaxRecipients) {
			one := p
			if one.to = to; i > 0 {
				one.hash = hash("recipients", p.hash, strconv.Itoa(i))
			}
			all = append(all, one)
			i++
		}
	}
	return all
}
