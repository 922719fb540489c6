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
	// Keys are the results of spec.dedupKey.
	Keys []string
	// Fault is why the configured template did not render the text.
	Fault error
}

// PreviewOf returns the messages that a receiver would create for a body, and creates nothing. Decoded also holds the
// alerts that it would not send.
func PreviewOf(
	ctx context.Context, r *v1alpha1.TeamTalkReceiver, body []byte,
) (previews []Preview, decoded notification.Result, err error) {
	if len(r.Spec.To.All()) == 0 {
		return nil, decoded, fmt.Errorf("spec.to names nobody")
	}
	decoded, err = notification.Decode(ctx, r, body, "application/json")
	if err != nil {
		return nil, decoded, err
	}
	templates, _ := template.ParseSet(&r.Spec) // each text returns its fault
	for _, m := range decoded.Messages {
		text, fault := render(ctx, templates, r, m)
		previews = append(previews, Preview{
			Name: nameOf(r, m.Hash, 1), To: recipientSet(m.To), Text: text, Keys: m.Keys, Fault: fault,
		})
	}
	return previews, decoded, nil
}
