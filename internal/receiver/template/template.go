// SPDX-License-Identifier: Apache-2.0

package template

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// Template is a template that reads only its data, within limits.
type Template struct {
	parsed *template.Template
}

// Parse parses a template. Errors contain the name.
func Parse(name, text string) (*Template, error) {
	t, err := template.New(name).Funcs((&budget{}).functions()).Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	var defined []string
	empty := t.Tree == nil || parse.IsEmptyTree(t.Root)
	for _, named := range t.Templates() {
		if named.Tree == nil {
			continue
		}
		if named.Name() != name {
			defined = append(defined, named.Name())
		}
		if err := instrument(t, named.Tree); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(defined) > 0 && empty {
		return nil, fmt.Errorf("%s: it defines %q and produces no text: end it with {{ template %q . }}", name,
			slices.Sorted(slices.Values(defined)), slices.Min(defined))
	}
	return &Template{parsed: t}, nil
}

// Execute renders the data within the limits. If the output is too long, the error is errOutput and the text is what
// has room.
func (t *Template) Execute(ctx context.Context, data any, l *Limits) (out string, err error) {
	// A method of the library that panics is a fault of the template. Its message may hold the data.
	defer func() {
		if recover() != nil {
			err = errors.New("it panics")
		}
	}()
	work := min(maxWork, l.Work)
	b := &budget{ctx: ctx, work: work, limit: l.Output, zone: cmp.Or(l.Zone, time.UTC)}
	defer func() { l.Work -= work - b.work }()
	own, err := t.parsed.Clone()
	if err != nil {
		return "", err
	}
	if n, ok := data.(interface{ notification() *Notification }); ok {
		b.listMethod, b.setMethod = n.notification().methodWork()
		b.routeLabels = n.notification().RouteLabels
		own.Option("missingkey=zero") // the empty text: all values are texts
	}
	if err := own.Funcs(b.functions()).Funcs(b.inserted()).Execute(b, data); err != nil {
		if b.stopped != nil {
			return "", b.stopped
		}
		for _, limit := range []error{errWork, errSize, errOutput, errDepth} {
			if errors.Is(err, limit) {
				return b.out.String(), fmt.Errorf("%s: %w", own.Name(), limit)
			}
		}
		fault := withoutData(strings.TrimPrefix(err.Error(), "template: "))
		if strings.Contains(fault, "can't evaluate field") {
			fault += "; a receiver of type Generic reads any field"
		}
		return "", errors.New(fault)
	}
	return b.out.String(), nil
}

// withoutData removes the data that text/template quotes in an error: errors go to logs and statuses. In other errors
// it quotes nothing but the template.
func withoutData(fault string) string {
	for _, beforeData := range []string{": range can't iterate over ", ": if/with can't use "} {
		if where, _, quotes := strings.Cut(fault, beforeData); quotes {
			return where + beforeData + "this"
		}
	}
	return fault
}
