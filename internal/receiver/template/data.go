// SPDX-License-Identifier: Apache-2.0

package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Statuses of a notification, and of an alert.
const (
	StatusFiring   = "firing"
	StatusResolved = "resolved"
)

// Notification is the data of Alertmanager's webhook, version 4, and the data of templates. Its types have the names
// and methods of Alertmanager's package template.
type Notification struct {
	Version           string `json:"version"`
	GroupKey          string `json:"groupKey"`
	Status            string `json:"status"`
	Receiver          string `json:"receiver"`
	GroupLabels       KV     `json:"groupLabels"`
	CommonLabels      KV     `json:"commonLabels"`
	CommonAnnotations KV     `json:"commonAnnotations"`
	ExternalURL       string `json:"externalURL"`
	TruncatedAlerts   uint64 `json:"truncatedAlerts"`
	Alerts            Alerts `json:"alerts"`

	// Later than version 4.
	NotificationReason string `json:"notification_reason,omitempty"`
	RouteLabels        KV     `json:"routeLabels,omitempty"`

	// Grafana's.
	Title   string `json:"title,omitempty"`
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
	OrgID   int64  `json:"orgId,omitempty"`
}

// Post is a message for a chat service, and its data for templates.
type Post struct {
	// Text is the text that the service would show, without markup.
	Text string
	// Payload is the JSON that was posted, as Values returns it.
	Payload any
}

// String implements fmt.Stringer. It returns the text.
func (p *Post) String() string { return p.Text }

// Alert is one alert of a notification.
type Alert struct {
	Status       string `json:"status"`
	Labels       KV     `json:"labels"`
	Annotations  KV     `json:"annotations"`
	StartsAt     Time   `json:"startsAt"`
	EndsAt       Time   `json:"endsAt"`
	GeneratorURL string `json:"generatorURL"`
	Fingerprint  string `json:"fingerprint"`

	// Grafana's.
	SilenceURL   string         `json:"silenceURL,omitempty"`
	DashboardURL string         `json:"dashboardURL,omitempty"`
	PanelURL     string         `json:"panelURL,omitempty"`
	ImageURL     string         `json:"imageURL,omitempty"`
	Values       map[string]any `json:"values,omitempty"`
	ValueString  string         `json:"valueString,omitempty"`
	OrgID        int64          `json:"orgId,omitempty"`

	// omitted tells that a text has no room for the alert. It counts, but templates do not list it, see listed.
	omitted bool
}

// String implements fmt.Stringer. It prints what Alertmanager's type has.
func (a Alert) String() string {
	return fmt.Sprint(struct {
		Status                    string
		Labels, Annotations       KV
		StartsAt, EndsAt          Time
		GeneratorURL, Fingerprint string
	}{a.Status, a.Labels, a.Annotations, a.StartsAt, a.EndsAt, a.GeneratorURL, a.Fingerprint})
}

// Alerts is a list of alerts.
type Alerts []Alert

// Firing returns the firing alerts.
func (as Alerts) Firing() Alerts {
	if n, sorted := as.firstResolved(); sorted {
		return as[:n:n]
	}
	return as.with(func(a Alert) bool { return a.Status != StatusResolved })
}

// Resolved returns the resolved alerts.
func (as Alerts) Resolved() Alerts {
	if n, sorted := as.firstResolved(); sorted {
		return as[n:]
	}
	return as.with(func(a Alert) bool { return a.Status == StatusResolved })
}

// firstResolved returns where the resolved alerts begin, if all of them come after those that fire, as in a text.
func (as Alerts) firstResolved() (n int, sorted bool) {
	resolved := func(a Alert) bool { return a.Status == StatusResolved }
	n = len(as)
	if first := slices.IndexFunc(as, resolved); first >= 0 {
		n = first
	}
	return n, !slices.ContainsFunc(as[n:], func(a Alert) bool { return !resolved(a) })
}

func (as Alerts) with(want func(Alert) bool) Alerts {
	var some Alerts
	for _, a := range as {
		if want(a) {
			some = append(some, a)
		}
	}
	return some
}

// listed returns the alerts that a text has room for: all but the last ones. What counts alerts counts the others too.
func (as Alerts) listed() Alerts {
	for i, a := range as {
		if a.omitted {
			return as[:i:i]
		}
	}
	return as
}

// listed returns what a template lists of a value: alerts without those that a text has no room for.
func listed(v any) any {
	switch v := v.(type) {
	case Alerts:
		return v.listed()
	case *Notification:
		own := *v
		own.Alerts = v.Alerts.listed()
		return &own
	}
	return v
}

// Pair is a name with its value.
type Pair struct{ Name, Value string }

// Pairs is a list of names with their values.
type Pairs []Pair

// Names returns the names.
func (ps Pairs) Names() Strings {
	names := make(Strings, len(ps))
	for i, p := range ps {
		names[i] = p.Name
	}
	return names
}

// Values returns the values.
func (ps Pairs) Values() Strings {
	values := make(Strings, len(ps))
	for i, p := range ps {
		values[i] = p.Value
	}
	return values
}

// String implements fmt.Stringer.
func (ps Pairs) String() string {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.Name + "=" + p.Value
	}
	return strings.Join(texts, ", ")
}

// Strings is a list of texts.
type Strings []string

// maxSeparator is the longest separator of Join, in bytes.
const maxSeparator = 64

// Join joins the texts.
func (s Strings) Join(separator string) (string, error) {
	if len(separator) > maxSeparator {
		return "", fmt.Errorf("a separator of more than %d bytes", maxSeparator)
	}
	return strings.Join(s, separator), nil
}

// KV is a set of labels or annotations.
type KV map[string]string

// SortedPairs returns the names with their values, alertname first, then by name.
func (kv KV) SortedPairs() Pairs {
	pairs := make(Pairs, 0, len(kv))
	for name, value := range kv {
		pairs = append(pairs, Pair{name, value})
	}
	slices.SortFunc(pairs, func(a, b Pair) int {
		switch {
		case a.Name == b.Name:
			return 0
		case a.Name == "alertname":
			return -1
		case b.Name == "alertname":
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return pairs
}

// Names returns the names, alertname first, then in order.
func (kv KV) Names() Strings { return kv.SortedPairs().Names() }

// Values returns the values, in the order of their names.
func (kv KV) Values() Strings { return kv.SortedPairs().Values() }

// String implements fmt.Stringer.
func (kv KV) String() string { return kv.SortedPairs().String() }

// maxRemoved limits the names of Remove.
const maxRemoved = 64

// Remove returns the set without these names.
func (kv KV) Remove(names []string) (KV, error) {
	if len(names) > maxRemoved {
		return nil, fmt.Errorf("more than %d names to remove", maxRemoved)
	}
	rest := maps.Clone(kv)
	for _, name := range names {
		delete(rest, name)
	}
	return rest, nil
}

func (n *Notification) notification() *Notification { return n }

// methodWork is the work of one call of a method: of the alerts, and of the largest set of labels or of a time.
func (n *Notification) methodWork() (list, set int) {
	alert := 2 // the alerts are looked at
	if _, sorted := n.Alerts.firstResolved(); !sorted {
		alert = 400 // bytes, which are copied
	}
	set = maxTimeText
	weigh := func(kv KV) {
		work := 0
		for name, value := range kv {
			work += 2*valueWork + len(name) + len(value)
		}
		set = max(set, 2*work)
	}
	for _, kv := range []KV{n.GroupLabels, n.CommonLabels, n.CommonAnnotations, n.RouteLabels} {
		weigh(kv)
	}
	for i := range n.Alerts {
		weigh(n.Alerts[i].Labels)
		weigh(n.Alerts[i].Annotations)
	}
	return alert * len(n.Alerts), set
}
