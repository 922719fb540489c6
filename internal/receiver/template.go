// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// Template is a template that cannot read anything but its data, and ends soon.
type Template struct {
	parsed *template.Template
}

// ParseTemplate parses a template, with the functions that it may use.
func ParseTemplate(name, text string) (*Template, error) {
	t, err := template.New(name).Funcs(functions(nil)).Option("missingkey=zero").Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	for _, named := range t.Templates() {
		if named.Tree == nil {
			continue
		}
		if err := countSteps(named.Tree, 1+2*strings.Count(text, ":=")); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return &Template{parsed: t}, nil
}

// execution is one of a template, on data whose methods cost what is said here.
type execution struct {
	purse          *purse
	alerts, labels methodCost
	// limit is how many bytes the text may have.
	limit int
}

// Execute renders the data. It fails as soon as the template has taken what it may, or
// the text is longer than it may be; the text is what has room then.
func (t *Template) Execute(ctx context.Context, data any, e execution) (out string, err error) {
	// A method of the library that panics is a fault of the template. What it says may
	// be the data.
	defer func() {
		if recover() != nil {
			err = errors.New("it panics")
		}
	}()
	b := &budget{ctx: ctx, purse: e.purse, work: maxWork, limit: e.limit, alerts: e.alerts, labels: e.labels}
	own, err := t.parsed.Clone()
	if err != nil {
		return "", err
	}
	if err := own.Funcs(functions(b)).Execute(b, data); err != nil {
		if b.stopped != nil {
			return "", b.stopped
		}
		for _, bound := range []error{errBudget, errLong, errNesting} {
			if errors.Is(err, bound) {
				return b.out.String(), fmt.Errorf("%s: %w", own.Name(), bound)
			}
		}
		return "", errors.New(discreet(strings.TrimPrefix(err.Error(), "template: ")))
	}
	return b.out.String(), nil
}

// discreet is what text/template says of a fault without the data that it quotes: it
// goes to logs and statuses. Elsewhere it quotes no more than the template.
func discreet(fault string) string {
	for _, beforeData := range []string{": range can't iterate over ", ": if/with can't use "} {
		if where, _, quotes := strings.Cut(fault, beforeData); quotes {
			return where + beforeData + "this"
		}
	}
	return fault
}
