// SPDX-License-Identifier: Apache-2.0

package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The names by which other systems call what a text shows, in lower case and without "_", "-" and ".".
var (
	titleNames = []string{"title", "subject", "headline", "summary"}
	// labelNames are titles if there is another text: alone they do not say what happened.
	labelNames = []string{
		"alertname", "rulename", "alerttitle", "eventname", "checkname", "monitorname", "name",
	}
	messageNames = []string{
		"message", "msg", "text", "body", "content", "alertmessage", "eventmessage", "description", "details", "detail",
		"reason",
	}
	stateNames    = []string{"state", "status", "alertstate", "alertstatus", "newstate", "currentstate"}
	severityNames = []string{"severity", "level", "priority", "urgency"}
	// wrapperNames are objects that hold all of it.
	wrapperNames = []string{"alert", "event", "incident", "problem", "notification", "data", "payload", "detail"}
)

// maxState is the longest state or severity, in characters.
const maxState = 40

// describe is the built-in text of any JSON: title, state and message, whatever they are called, or else all of it.
func describe(v any) (string, error) {
	if text, ok := v.(string); ok && HasText(text) {
		return text, nil
	}
	fields := fieldsOf(v)
	title, message := fields.text(titleNames...), fields.text(messageNames...)
	if title == "" && message == "" {
		return toJSON(v)
	}
	if title == "" {
		title = fields.text(labelNames...)
	}
	return fields.compose(title, message), nil
}

// fields are those of an object, by their names in lower case and without separators.
type fields map[string]any

// fieldsOf returns the fields of an object, or those of an object in it that holds all.
func fieldsOf(v any) fields {
	object, _ := v.(map[string]any)
	all := fields{}
	all.add(object)
	if all.text(slices.Concat(titleNames, messageNames)...) != "" {
		return all
	}
	for _, name := range wrapperNames {
		if inner, ok := all[name].(map[string]any); ok {
			all.add(inner)
		}
	}
	return all
}

// add adds the fields of an object that are not there. Of names that differ in letters only, the first in order counts:
// two gateways make the same text.
func (f fields) add(object map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if plain := strings.ToLower(separators.Replace(name)); textIn(f[plain]) == "" {
			f[plain] = object[name]
		}
	}
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

// text returns the first non-empty field.
func (f fields) text(names ...string) string {
	for _, name := range names {
		if text := textIn(f[name]); text != "" {
			return text
		}
	}
	return ""
}

// compose builds a text from its parts. The first line, which a phone shows, names the event and its object.
func (f fields) compose(title, message string) string {
	var b strings.Builder
	shown := title + " " + message
	for _, names := range [][]string{severityNames, stateNames} {
		if text := f.text(names...); text != "" && !hasWord(title, text) {
			b.WriteString("[" + Abbreviate(maxState, text) + "] ")
		}
	}
	if object := f.object(); object != "" {
		b.WriteString(object + ": ")
	}
	if reason := f.text("reason"); reason != "" && !strings.Contains(shown, reason) {
		b.WriteString(reason + ": ")
	}
	lines := []string{title}
	if message != "" && strings.HasPrefix(message, title) {
		lines = nil // the message contains it
	}
	for _, text := range []string{message, f.text("summary"), f.text("description")} {
		if text != "" && !slices.Contains(lines, text) {
			lines = append(lines, text)
		}
	}
	b.WriteString(strings.Join(lines, "\n"))
	return b.String()
}

// object returns the object that an event of Kubernetes is about.
func (f fields) object() string {
	object, _ := f["involvedobject"].(map[string]any)
	if object == nil {
		return ""
	}
	text := textIn(object["kind"]) + "/" + textIn(object["name"])
	if namespace := textIn(object["namespace"]); namespace != "" {
		text += " in " + namespace
	}
	return text
}

// textIn returns the text that a value is, or has: in an object the text in it, in a list its texts, else JSON. Blanks
// are no text.
func textIn(v any) string {
	switch v := v.(type) {
	case string:
		return firstText(strings.ReplaceAll(v, "\r\n", "\n"))
	case nil:
		return ""
	case bool:
		return fmt.Sprint(v)
	case map[string]any:
		for _, name := range []string{"text", "message", "content", "body", "value"} {
			if text, ok := v[name].(string); ok && HasText(text) {
				return textIn(text)
			}
		}
		if len(v) == 0 {
			return ""
		}
	case []any:
		var texts []string
		for _, inner := range v {
			if text, ok := inner.(string); ok {
				texts = append(texts, text)
			}
		}
		if len(texts) == len(v) {
			return firstText(strings.Join(texts, "\n"))
		}
	default:
		text, _ := textOf(v)
		return text
	}
	text, _ := toJSON(v)
	return text
}

// hasWord reports whether a text has another one as a word, in letters of any case.
func hasWord(text, word string) bool {
	if len(word) > maxState {
		return false
	}
	for rest, word := strings.ToLower(text), strings.ToLower(word); ; {
		before, after, found := strings.Cut(rest, word)
		if !found {
			return false
		}
		last, _ := utf8.DecodeLastRuneInString(before)
		next, _ := utf8.DecodeRuneInString(after)
		if !unicode.IsLetter(last) && !unicode.IsLetter(next) {
			return true
		}
		rest = after
	}
}
