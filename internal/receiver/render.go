// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// render renders the text of a message when it is the receiver's turn, see template.Set.Text.
func render(
	ctx context.Context, s *template.Set, r *v1alpha1.TeamTalkReceiver, p notification.Message,
) (text string, fault error) {
	data := p.Data()
	leave, err := rendering.enter(ctx, types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
	if err != nil {
		return template.Plain(data), nil
	}
	defer leave()
	return s.Text(ctx, data)
}
