package receiver

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// MaxText is the longest text, in bytes, that TeamTalk holds in one message with
// its delivery token.
const MaxText = 3051

// maxTime is how long a template may take to make a text that fits.
const maxTime = 2 * time.Second

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
// it; the text is the built-in template's then.
func (t *Templates) text(ctx context.Context, r *v1alpha1.TeamTalkReceiver, p part) (text string, fault error) {
	fault = t.fault
	declared := t.firing
	if p.alerts != nil && p.alerts.Status == statusResolved {
		declared = t.resolved
	}
	text, err := fit(ctx, declared, p)
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
	until := time.Now().Add(maxTime)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(until) {
		until = deadline
	}
	if p.alerts == nil {
		text, err := clean(t.Execute(p.body, until))
		return cut(text, MaxText), err
	}
	// What fires comes first: it is the last to be left out.
	all := append(p.alerts.Alerts.Firing(), p.alerts.Alerts.Resolved()...)
	render := func(count int) (string, error) {
		own := *p.alerts
		own.Alerts = all[:count]
		text, err := clean(t.Execute(&own, until))
		return text + more(len(all)-count+int(own.TruncatedAlerts)), err
	}
	text, err := render(len(all))
	if err != nil || len(text) <= MaxText {
		return text, err
	}
	// The least count that is too long; the one before it is sent.
	tooLong := sort.Search(len(all), func(i int) bool {
		var one error
		if text, one = render(i + 1); one != nil {
			err = one
		}
		return len(text) > MaxText
	})
	if err != nil {
		return "", err
	}
	if tooLong > 0 {
		return render(tooLong)
	}
	rest := more(len(all) - 1 + int(p.alerts.TruncatedAlerts))
	one := *p.alerts
	one.Alerts = all[:1]
	text, err = clean(t.Execute(&one, until))
	return cut(text, MaxText-len(rest)) + rest, err
}

func more(count int) string {
	if count <= 0 {
		return ""
	}
	return fmt.Sprintf("\n+%d more", count)
}

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
