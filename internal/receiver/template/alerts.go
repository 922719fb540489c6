// SPDX-License-Identifier: Apache-2.0

package template

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

const (
	// fewAlerts is up to how many alerts the built-in text has more than one line for each.
	fewAlerts = 5
	// The longest text of an alert, and value of a label, in characters.
	maxSummary, maxLabel = 300, 60
	// timeLayout shows the times of alerts.
	timeLayout = "2006-01-02 15:04 MST"
)

// builtIn renders the texts of receivers that have no template, and of those whose template fails.
type builtIn struct {
	words
	// toLabel is the label that names recipients. It does not describe the alert.
	toLabel string
}

// Execute renders the data as Template.Execute does.
func (t builtIn) Execute(ctx context.Context, data any, l *Limits) (out string, err error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("the request ends before its text is rendered: %w", err)
	}
	var text string
	switch data := data.(type) {
	case *Notification:
		text = t.alerts(data, l.Output)
	case *Post:
		text = data.Text
	default:
		if text, err = describe(data); err != nil {
			return "", err
		}
	}
	if len(text) > l.Output {
		return text[:l.Output], errOutput
	}
	return text, nil
}

// alerts renders a notification, at least the given number of bytes. The problem comes first, because a phone shows a
// line or two. Common labels are shown once.
func (t builtIn) alerts(n *Notification, limit int) string {
	var b strings.Builder
	common := n.CommonLabels
	firing, resolved := n.Alerts.Firing(), n.Alerts.Resolved()
	first, word := firing, t.firing
	if len(firing) == 0 {
		first, word = resolved, t.resolved
	}
	b.WriteString(word + counted(first))
	for _, name := range []string{"severity", "alertname"} {
		if value := strings.TrimSpace(common[name]); value != "" {
			b.WriteString(" · " + value)
		}
	}
	if len(n.Alerts) == 1 {
		common = KV{"alertname": common["alertname"], "severity": common["severity"]}
	} else if shared := t.about(common, nil); shared != "" {
		b.WriteString(" · " + shared)
	}
	for _, list := range []Alerts{firing, resolved} {
		if len(firing) > 0 && len(list) > 0 && list[0].Status == StatusResolved {
			b.WriteString("\n" + t.resolved + counted(list))
		}
		for _, a := range list.listed() {
			if b.Len() > limit {
				return b.String()
			}
			t.alert(&b, n, a, common)
		}
	}
	if runbook := n.CommonAnnotations["runbook_url"]; HasText(runbook) {
		b.WriteString("\n" + t.runbook + runbook)
	}
	switch page := strings.TrimRight(n.ExternalURL, "/"); {
	case page == "":
	case !n.isGrafanas():
		b.WriteString("\n" + page + "/#/alerts?receiver=" + url.QueryEscape(n.Receiver))
	case len(n.Alerts) > fewAlerts:
		b.WriteString("\n" + page + "/alerting/list")
	}
	return b.String()
}

// counted returns the number of alerts, unless it is one.
func counted(list Alerts) string {
	if len(list) > 1 {
		return fmt.Sprint(" ", len(list))
	}
	return ""
}

// alert adds an alert, without the labels that are common.
func (t builtIn) alert(b *strings.Builder, n *Notification, a Alert, common KV) {
	name := a.Labels["alertname"]
	summary := firstText(a.Annotations["summary"], a.Annotations["message"], a.Annotations["description"])
	b.WriteString("\n• ")
	if name != common["alertname"] && HasText(name) && summary != "" {
		b.WriteString(name + ": ")
	}
	b.WriteString(Abbreviate(maxSummary, cmp.Or(summary, firstText(name), t.words.alert)))
	if severity := a.Labels["severity"]; severity != common["severity"] && HasText(severity) {
		b.WriteString(" [" + severity + "]")
	}
	if about := t.about(a.Labels, common); about != "" {
		b.WriteString(" (" + about + ")")
	}
	if value := a.value(); value != "" {
		fmt.Fprintf(b, t.value, Abbreviate(maxLabel, value))
	}
	switch over := a.Status == StatusResolved && a.EndsAt.After(a.StartsAt); {
	case a.StartsAt.IsZero():
	case over:
		fmt.Fprintf(b, t.period, a.StartsAt.t.Format(timeLayout), a.EndsAt.t.Format(timeLayout))
	default:
		fmt.Fprintf(b, t.since, a.StartsAt.t.Format(timeLayout))
	}
	if len(n.Alerts) > fewAlerts {
		return
	}
	line := func(text string) { b.WriteString("\n  " + text) }
	if description := firstText(a.Annotations["description"]); description != "" && description != summary {
		line(Abbreviate(maxSummary, description))
	}
	if runbook := a.Annotations["runbook_url"]; HasText(runbook) && runbook != n.CommonAnnotations["runbook_url"] {
		line(t.runbook + runbook)
	}
	t.links(a, n, line)
}

// links adds where an alert leads to. Alertmanager has one page for all of them, Grafana has pages for each.
func (t builtIn) links(a Alert, n *Notification, line func(string)) {
	if !n.isGrafanas() {
		if n.ExternalURL == "" && HasText(a.GeneratorURL) {
			line(a.GeneratorURL)
		}
		return
	}
	if link := firstText(a.PanelURL, a.DashboardURL, a.GeneratorURL); link != "" {
		line(link)
	}
	if HasText(a.ImageURL) {
		line(a.ImageURL)
	}
	if HasText(a.SilenceURL) {
		line(t.silence + a.SilenceURL)
	}
}

// isGrafanas reports whether Grafana has posted the notification: it has no such pages as Alertmanager.
func (n *Notification) isGrafanas() bool {
	return n.OrgID != 0 || slices.ContainsFunc(n.Alerts, func(a Alert) bool { return a.SilenceURL != "" })
}

// value returns the value of an alert, if it is known.
func (a Alert) value() string {
	if value := firstText(a.Annotations["value"], a.Annotations["current_value"]); value != "" {
		return value
	}
	var values []string
	for _, name := range slices.Sorted(maps.Keys(a.Values)) {
		if text, err := textOf(a.Values[name]); err == nil && text != "" {
			values = append(values, name+"="+text)
		}
	}
	return firstText(strings.Join(values, ", "), a.ValueString)
}

// objects are labels that name the object of an alert, in order. technical labels name its source: they are shown if
// there are no others.
var (
	objects   = []string{"cluster", "namespace", "node", "pod", "container", "instance"}
	technical = []string{
		"endpoint", "grafana_folder", "job", "metrics_path", "prometheus", "prometheus_replica", "replica", "rule_uid",
		"service", "uid",
	}
)

// about returns the labels of an alert that are not common.
func (t builtIn) about(labels, common KV) string {
	var list, rest []string
	add := func(to *[]string, name string) {
		value := labels[name]
		shared, known := common[name]
		if HasText(value) && (!known || shared != value) {
			*to = append(*to, name+"="+Abbreviate(maxLabel, value))
		}
	}
	for _, name := range objects {
		add(&list, name)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		switch {
		case name == "alertname", name == "severity", name == t.toLabel, slices.Contains(objects, name):
		case slices.Contains(technical, name), strings.HasPrefix(name, "__"):
			add(&rest, name)
		default:
			add(&list, name)
		}
	}
	if len(list) == 0 {
		list = rest
	}
	return strings.Join(list, ", ")
}

// firstText returns the first non-empty text, without blanks around it, or "".
func firstText(texts ...string) string {
	for _, text := range texts {
		if HasText(text) {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

// HasText reports whether a text has visible characters.
func HasText(text string) bool {
	return strings.ContainsFunc(text, func(c rune) bool { return unicode.IsGraphic(c) && !unicode.IsSpace(c) })
}
