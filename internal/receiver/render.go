// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// maxOutput is how much of a text is made, in bytes, to be cut to fit.
const maxOutput = 64 << 10

// Templates are what makes the texts of a receiver.
type Templates struct {
	firing, resolved *Template
	// fault is why the declared ones, or one of them, do not parse.
	fault error
}

// builtIn are the templates where none are declared.
var builtIn = map[v1alpha1.ReceiverType]*Template{
	v1alpha1.ReceiverAlertmanager: mustParse("built-in", defaultAlerts),
	v1alpha1.ReceiverGeneric:      mustParse("built-in", defaultGeneric),
}

func mustParse(name, text string) *Template {
	t, err := ParseTemplate(name, text)
	if err != nil {
		panic(err) // of a constant: a test renders it
	}
	return t
}

// ParseTemplates parses what a receiver declares. An error says which of its
// templates is wrong; the Templates are usable all the same.
func ParseTemplates(r *v1alpha1.TeamTalkReceiver) (*Templates, error) {
	t := &Templates{firing: builtIn[r.Spec.Type]}
	parse := func(field, text string, into **Template) {
		if text == "" {
			return
		}
		parsed, err := ParseTemplate(field, text)
		if err != nil {
			t.fault = fmt.Errorf("spec.%w", err)
			return
		}
		*into = parsed
	}
	parse("template", r.Spec.Template, &t.firing)
	t.resolved = t.firing
	parse("resolvedTemplate", r.Spec.ResolvedTemplate, &t.resolved)
	return t, t.fault
}

// text makes the text of a part. A fault is why the declared template did not make
// it; the text is the built-in template's then. There is neither a fault nor a text
// worth sending once ctx has ended.
func (t *Templates) text(ctx context.Context, r *v1alpha1.TeamTalkReceiver, p part) (text string, fault error) {
	leave, err := rendering.enter(ctx, types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
	if err != nil {
		return bare(p), nil
	}
	defer leave()
	fault = t.fault
	declared := t.firing
	if p.alerts != nil && p.alerts.Status == statusResolved {
		declared = t.resolved
	}
	text, err = fit(ctx, declared, p)
	if err == nil {
		return text, fault
	}
	fallback := builtIn[r.Spec.Type]
	if declared != fallback {
		fault = err
		if text, err = fit(ctx, fallback, p); err == nil {
			return text, fault
		}
	}
	if ctx.Err() != nil {
		return bare(p), nil
	}
	return bare(p), errors.Join(fault, err)
}

// bare is the text where not even the built-in template makes one: such bodies are
// beyond its bounds.
func bare(p part) string {
	if p.alerts == nil {
		return "received what is too large to show"
	}
	return fmt.Sprintf("%s: %d alerts, too large to show", p.alerts.Status, len(p.alerts.Alerts))
}

// fit renders a part so that TeamTalk holds the text: with as many of its alerts as
// there is room for.
func fit(ctx context.Context, t *Template, p part) (string, error) {
	e := execution{purse: newPurse(), limit: maxOutput}
	if p.alerts == nil {
		return whole(ctx, t, p.body, e, "")
	}
	// What fires comes first: it is the last to be left out.
	all := append(p.alerts.Alerts.Firing(), p.alerts.Alerts.Resolved()...)
	own := *p.alerts
	rest := func(count int) string { return moreOf(len(all)-count, own.TruncatedAlerts) }
	// try renders so many alerts. It does not fit either where so many take too much.
	try := func(count int) (text string, fits bool, err error) {
		own.Alerts = all[:count]
		e.limit = 2 * cipher.MaxTextWithToken
		e.alerts, e.labels = costs(&own)
		text, err = clean(t.Execute(ctx, &own, e))
		if errors.Is(err, errLong) || errors.Is(err, errBudget) {
			return "", false, nil
		}
		text += rest(count)
		return text, err == nil && len(text) <= cipher.MaxTextWithToken, err
	}
	text, ok, err := try(len(all))
	if ok || err != nil {
		return text, err
	}
	// From few to many: how many there are in all must not matter.
	best, fits, tooMany := "", 0, 1
	for ; tooMany < len(all); tooMany *= 2 {
		if text, ok, err = try(tooMany); err != nil {
			return "", err
		} else if !ok {
			break
		}
		best, fits = text, tooMany
	}
	for tooMany = min(tooMany, len(all)); tooMany-fits > 1; {
		middle := (fits + tooMany) / 2
		if text, ok, err = try(middle); err != nil {
			return "", err
		} else if ok {
			best, fits = text, middle
		} else {
			tooMany = middle
		}
	}
	if fits > 0 {
		return best, nil
	}
	own.Alerts, e.limit = all[:1], maxOutput
	e.alerts, e.labels = costs(&own)
	return whole(ctx, t, &own, e, rest(1))
}

// whole renders all there is, cuts it to fit, and ends it.
func whole(ctx context.Context, t *Template, data any, e execution, end string) (string, error) {
	text, err := t.Execute(ctx, data, e)
	if errors.Is(err, errLong) {
		err = nil // it is longer than it is cut to
	}
	text, err = clean(text, err)
	return cut(text, cipher.MaxTextWithToken-len(end)) + end, err
}

// moreOf is more of those that are left out here, and of those that were before.
func moreOf(here int, before uint64) string {
	left := uint64(max(0, here))
	if left+before < before {
		return "\n+many more"
	}
	if left+before == 0 {
		return ""
	}
	return fmt.Sprintf("\n+%d more", left+before)
}

func more(count int) string { return moreOf(count, 0) }

// clean makes a template's output what TeamTalk holds. Nothing at all is an error:
// an alert that makes no text would be lost.
func clean(text string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
	if text = strings.TrimSpace(text); text == "" {
		return "", errors.New("the template makes no text")
	}
	return text, nil
}

// cut shortens a text to so many bytes, between two characters.
func cut(text string, limit int) string {
	const ellipsis = "…"
	if len(text) <= limit {
		return text
	}
	end := limit - len(ellipsis)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
