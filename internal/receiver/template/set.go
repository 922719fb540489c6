// SPDX-License-Identifier: Apache-2.0

package template

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// maxOutput is the largest output in bytes before it is shortened.
	maxOutput = 64 << 10
	// checkWork is the work of an execution in Check. The operator calls it for each receiver of every tenant.
	checkWork = maxWork / 16
)

// Set has the templates of a receiver.
type Set struct {
	firing, resolved renderer
	builtIn          builtIn
	zone             *time.Location
	// limit is the longest text that TeamTalk holds, in bytes.
	limit int
	// fault is an error of the configured templates or the time zone.
	fault error
}

// renderer is a Template or a builtIn.
type renderer interface {
	Execute(ctx context.Context, data any, l *Limits) (string, error)
}

// ParseSet parses the templates of a receiver. An error says which of them is wrong; the Set can be used nevertheless.
func ParseSet(spec *v1alpha1.TeamTalkReceiverSpec) (*Set, error) {
	s := &Set{builtIn: builtIn{words: wordsOf(spec), toLabel: spec.ToLabel}, limit: cipher.MaxTextWithToken}
	if p := spec.ReadPolicy; p != nil && p.EscalateTo != nil {
		s.limit -= v1alpha1.MaxFirstLine
	}
	s.firing = s.builtIn
	var err error
	if s.zone, err = LoadZone(spec.TimeZone); err != nil {
		s.fault = fmt.Errorf("spec.timeZone: %w", err)
	}
	parse := func(field, text string, into *renderer) {
		if text == "" {
			return
		}
		parsed, err := Parse(field, text)
		if err != nil {
			s.fault = fmt.Errorf("spec.%w", err)
			return
		}
		*into = parsed
	}
	parse("template", spec.Template, &s.firing)
	s.resolved = s.firing
	parse("resolvedTemplate", spec.ResolvedTemplate, &s.resolved)
	return s, s.fault
}

// Check returns why a template of a receiver fails with any data, as far as this is known: what ParseSet returns, or
// fields that no notification has.
func Check(ctx context.Context, spec *v1alpha1.TeamTalkReceiverSpec) error {
	s, err := ParseSet(spec)
	if err != nil || !spec.Type.HasAlerts() {
		return err
	}
	for _, t := range []renderer{s.firing, s.resolved} {
		_, err := t.Execute(ctx, example(), &Limits{Work: checkWork, Output: maxOutput, Zone: s.zone})
		if err != nil && strings.Contains(err.Error(), "can't evaluate field") {
			return fmt.Errorf("spec.%w", err)
		}
	}
	return nil
}

// example returns a notification that has all that templates may ask for.
func example() *Notification {
	kv := KV{"alertname": "Example", "severity": "warning", "instance": "host-1:9100"}
	started := Time{t: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	alert := Alert{
		Status: StatusFiring, Labels: kv, Annotations: kv, StartsAt: started, GeneratorURL: "http://prometheus.example",
		Fingerprint: "0123456789abcdef",
	}
	over := alert
	over.Status, over.EndsAt = StatusResolved, started.Add(time.Minute)
	return &Notification{
		Version: "4", GroupKey: "{}", Status: StatusFiring, Receiver: "example", GroupLabels: kv, CommonLabels: kv,
		CommonAnnotations: kv, ExternalURL: "http://alertmanager.example", Alerts: Alerts{alert, over}, RouteLabels: kv,
	}
}

// Text renders data, a *Notification, a *Post or what Values returns, so that TeamTalk holds the text. A fault is why
// the configured template did not render it; the text is the built-in template's then. Once ctx has ended there is
// neither a fault nor a text worth sending.
func (s *Set) Text(ctx context.Context, data any) (text string, fault error) {
	configured := s.firing
	if n, ok := data.(*Notification); ok && n.Status == StatusResolved {
		configured = s.resolved
	}
	fault = s.fault
	text, err := s.fit(ctx, configured, data)
	if err == nil {
		return text, fault
	}
	if configured != renderer(s.builtIn) {
		fault = err
		if text, err = s.fit(ctx, s.builtIn, data); err == nil {
			return text, fault
		}
	}
	if ctx.Err() != nil {
		return s.plain(data), nil //nolint:nilerr // the text is not needed
	}
	return s.plain(data), errors.Join(fault, err)
}

func (s *Set) plain(data any) string { return shortenText(Plain(data), s.limit) }

// Plain is the text of data that is over the limits even of the built-in template.
func Plain(data any) string {
	switch data := data.(type) {
	case *Notification:
		return fmt.Sprintf("%s: %d alerts, too large to show", data.Status, len(data.Alerts))
	case *Post:
		return shortenText(data.Text, cipher.MaxTextWithToken)
	}
	return "received a body that cannot be shown"
}

// fit renders data so that TeamTalk can store the text: with as many alerts as fit.
func (s *Set) fit(ctx context.Context, t renderer, data any) (string, error) {
	limits := &Limits{Work: TextWork, Output: maxOutput, Zone: s.zone}
	n, ok := data.(*Notification)
	if !ok {
		return s.whole(ctx, t, data, limits, "")
	}
	// Firing alerts come first: they are the last to be left out.
	all := slices.Concat(n.Alerts.Firing(), n.Alerts.Resolved())
	for i := range all {
		all[i].StartsAt, all[i].EndsAt = all[i].StartsAt.local(s.zone), all[i].EndsAt.local(s.zone)
	}
	own := *n
	own.Alerts = all
	rest := func(count int) string { return s.builtIn.rest(len(all)-count, own.TruncatedAlerts) }
	// list sets the number of alerts that the template lists. It counts all of them.
	list := func(count int) {
		for i := range all {
			all[i].omitted = i >= count
		}
	}
	// try renders the given number of alerts. They also do not fit if they exceed the limits.
	try := func(count int) (text string, fits bool, err error) {
		list(count)
		limits.Output = 2 * cipher.MaxTextWithToken
		text, err = clean(t.Execute(ctx, &own, limits))
		if errors.Is(err, errOutput) || errors.Is(err, errWork) || errors.Is(err, errSize) {
			return "", false, nil
		}
		text += rest(count)
		return text, err == nil && len(text) <= s.limit, err
	}
	text, ok, err := try(len(all))
	if ok || err != nil {
		return text, err
	}
	// From few to many: the time must not depend on how many there are.
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
	list(1)
	limits.Output = maxOutput
	return s.whole(ctx, t, &own, limits, rest(1))
}

// whole renders all of the data, cuts the text to fit, and appends an end.
func (s *Set) whole(ctx context.Context, t renderer, data any, l *Limits, end string) (string, error) {
	text, err := t.Execute(ctx, data, l)
	if errors.Is(err, errOutput) {
		err = nil // it is longer than it is cut to
	}
	text, err = clean(text, err)
	return shortenText(text, s.limit-len(end)) + end, err
}

// clean converts an output to a text that TeamTalk can store. An empty text is an error: the alert would be lost.
func clean(text string, err error) (string, error) {
	if err != nil {
		return "", err
	}
	text = strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", ""), "\uFFFD")
	if text = strings.TrimSpace(text); !HasText(text) {
		return "", errors.New("the template produces no text")
	}
	return text, nil
}

// shortenText shortens a text to at most the given bytes, between two characters.
func shortenText(text string, limit int) string {
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
