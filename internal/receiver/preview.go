// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// Preview is a message that a receiver would create.
type Preview struct {
	// Name of the first message of this notification.
	Name string
	To   v1alpha1.Recipients
	Text string
	// Fault is why the configured template did not make the text.
	Fault error
}

// PreviewOf returns what a receiver would create of a body, and creates nothing. Refused is the number of alerts that
// name recipients that spec.allow does not list.
func PreviewOf(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte,
) (previews []Preview, refused int, err error) {
	if len(r.Spec.To.All()) == 0 {
		return nil, 0, fmt.Errorf("spec.to names nobody")
	}
	messages, refused, err := notification.Decode(r, body, "application/json")
	if err != nil {
		return nil, 0, err
	}
	templates, _ := template.ParseSet(&r.Spec) // its fault is that of each text
	for _, m := range messages {
		text, fault := render(ctx, templates, r, m)
		previews = append(previews, Preview{Name: nameOf(r, m.Hash, 1), To: recipientSet(m.To), Text: text, Fault: fault})
	}
	return previews, refused, nil
}
