// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

// maxLine is the longest line of a digest, in characters.
const maxLine = 160

// texts renders the texts of one request's messages, each at most once.
type texts struct {
	handler   *Handler
	receiver  *v1alpha1.TeamTalkReceiver
	templates func() *template.Set

	rendered sync.Map // string by hash
	// failed is true if the built-in template rendered a text because the declared one failed.
	failed atomic.Bool
}

// newTexts returns the texts of a request. Templates are parsed if a text is needed: a repeat needs none.
func (h *Handler) newTexts(r *v1alpha1.TeamTalkReceiver) *texts {
	return &texts{handler: h, receiver: r, templates: sync.OnceValue(func() *template.Set {
		s, _ := template.ParseSet(&r.Spec) // each text returns its error
		return s
	})}
}

// of returns the text of a message. If ctx ends meanwhile, the text must not be used.
func (x *texts) of(ctx context.Context, m notification.Message) string {
	if text, ok := x.rendered.Load(m.Hash); ok {
		return text.(string)
	}
	text, fault := render(ctx, x.templates(), x.receiver, m)
	if ctx.Err() != nil {
		return ""
	}
	x.rendered.Store(m.Hash, text)
	if fault != nil {
		x.failed.Store(true)
		x.handler.recordTemplateFault(x.receiver, fault)
	}
	return text
}

// line returns a message's line in a digest: the first two lines of its text, or a plain line if the template takes too
// long.
func (x *texts) line(ctx context.Context, m notification.Message) string {
	if ctx.Err() == nil {
		if text := x.of(ctx, m); text != "" {
			lines := strings.SplitN(text, "\n", 3)
			text = strings.Join(lines[:min(2, len(lines))], " ")
			return template.Abbreviate(maxLine, strings.Join(strings.Fields(text), " "))
		}
	}
	if m.Alerts == nil {
		return "received"
	}
	name := m.Alerts.Alerts[0].Labels["alertname"]
	return template.Abbreviate(maxLine, fmt.Sprintf("%s %d %s", m.Alerts.Status, len(m.Alerts.Alerts), name))
}

// render renders the text of a message when the receiver gets a slot, see template.Set.Text.
func render(
	ctx context.Context, s *template.Set, r *v1alpha1.TeamTalkReceiver, m notification.Message,
) (text string, fault error) {
	data := m.Data()
	release, err := rendering.acquire(ctx, client.ObjectKeyFromObject(r))
	if err != nil {
		return template.Plain(data), nil
	}
	defer release()
	return s.Text(ctx, data)
}
