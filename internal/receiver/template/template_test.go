// SPDX-License-Identifier: Apache-2.0

package template

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// values decodes a body of type Generic.
func values(t testing.TB, body string) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(body)))
	d.UseNumber()
	var v any
	must(t, d.Decode(&v))
	return Values(v)
}

// TestFaultsQuoteNoData: the faults of templates, which are logged, do not have the data.
func TestFaultsQuoteNoData(t *testing.T) {
	const secret = "the vault is open"
	data := map[string]any{"secret": secret, "url": "http://[" + secret, "expression": "(" + secret, "list": []any{secret}}
	for _, text := range []string{
		`{{fail .secret}}`, `{{range .secret}}{{end}}`, `{{urlParse .url}}`, `{{regexFind .expression "x"}}`, `{{regexReplaceAll .expression "x" "y"}}`,
		`{{date "15:04" .secret}}`, `{{.secret.more}}`, `{{index .list .secret}}`, `{{index .secret .secret}}`, `{{len 3 .secret}}`, `{{slice .secret 3 2}}`,
		`{{join "," .secret}}`, `{{first .secret}}`, `{{eq .secret .list}}`, `{{lt .secret 3}}`, `{{printf "%*d" .secret}}`, `{{template .secret}}`,
		`{{trunc .secret "x"}}`, `{{substr 5 1 .secret}}`, `{{.secret 1}}`, `{{since .secret}}`, `{{hasKey .secret "x"}}`, `{{get .list .}}`,
		`{{slice .list .secret}}`, `{{call .secret}}`, `{{toUpper .list}}`, `{{with $x := .secret}}{{.y}}{{end}}`,
	} {
		parsed, err := Parse("template", text)
		if err == nil {
			_, err = parsed.Execute(t.Context(), data, &Limits{Work: TextWork, Output: maxOutput})
		}
		if err == nil {
			t.Errorf("%s is no fault", text)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEndOfContext(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	parsed, err := Parse("template", "{{range 10}}x{{end}}")
	must(t, err)
	if _, err := parsed.Execute(over, nil, &Limits{Work: TextWork, Output: maxOutput}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestInsertedFunctionsAreUnknown: templates cannot call what counts them.
func TestInsertedFunctionsAreUnknown(t *testing.T) {
	for name := range (&budget{}).inserted() {
		if _, err := Parse("template", "{{"+name+" 1}}"); err == nil {
			t.Errorf("%s can be called", name)
		}
	}
}

// TestMissingIsEmpty: a field that is missing or null is an empty text, and has no fields.
func TestMissingIsEmpty(t *testing.T) {
	data := values(t, `{"null":null,"list":[null],"text":"x"}`)
	for text, want := range map[string]string{
		`<{{.null}}{{.missing}}{{.null.a.b}}{{.missing.a.b}}>`:                                       "<>",
		`<{{.missing | toUpper}}{{.null | trim}}{{range .list}}{{.}}{{.a}}{{end}}>`:                  "<>",
		`{{.null | default 3}} {{.missing.a | default "y"}} {{if .null}}x{{end}}`:                    "3 y",
		`{{eq .missing "x"}} {{ne .null "x"}} {{eq .null ""}} {{eq .null .missing}} {{eq .text ""}}`: "false true true true false",
		`{{range .missing}}x{{else}}none{{end}} {{with .null}}x{{end}}{{len .missing}} {{toJson .}}`: `none 0 {"list":[null],"null":null,"text":"x"}`,
		`{{.null | int}} {{get "null" .}}{{get "missing" "a" .}}{{print .null.a .text}}`:             "0 <nil>x",
	} {
		parsed, err := Parse("template", text)
		must(t, err)
		got, err := parsed.Execute(t.Context(), data, &Limits{Work: TextWork, Output: maxOutput})
		if err != nil || strings.TrimSpace(got) != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}
