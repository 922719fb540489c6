// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

const (
	// maxText limits the text of a message for a chat, in bytes. TeamTalk holds a part of it.
	maxText = 64 << 10
	// maxMarkup is how much of a message is parsed as markdown or the like, in bytes: the time to parse some texts grows
	// with the square of their length. Several times what TeamTalk holds. What is over it is shown as it is.
	maxMarkup = 8 << 10
	// enoughMarkup is how much is parsed if its text is as long as TeamTalk holds, in bytes.
	enoughMarkup = 4 << 10
	// maxMentions limits the mentions that are listed after a text.
	maxMentions = 50
	// nameRunes are those of ids.
	nameRunes = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
)

// fields are those of an object of JSON.
type fields = map[string]any

// chat is a chat service.
type chat struct {
	// text adds the text of a message to w. An error wraps ErrMessageType or says which field is wrong.
	text func(w *writer, message fields) error
	// unfold decodes the fields that are JSON in a text, if the service takes them so. It may be nil.
	unfold func(u *unfolder, message fields)
}

// decode decodes the JSON of a message.
func (c chat) decode(body []byte, contentType string) (*Notification, error) {
	var v any
	if err := decodeJSON(body, contentType, &v); err != nil {
		return nil, err
	}
	return c.notification(v, string(body))
}

// notification returns the data of a message for templates, and its identity: the JSON as it was posted, or the values
// in its texts.
func (c chat) notification(v any, posted string) (*Notification, error) {
	message, isObject := v.(fields)
	if !isObject {
		return nil, errors.New("the body must be a JSON object")
	}
	var u unfolder
	if c.unfold != nil {
		c.unfold(&u, message)
	}
	if u.err != nil {
		return nil, u.err
	}
	identity, err := withoutTimes(message, posted, u.texts > 0)
	if err != nil {
		return nil, err
	}
	w := &writer{markup: maxMarkup}
	if err := c.text(w, message); err != nil {
		return nil, err
	}
	text := w.String()
	if !template.HasText(text) {
		return nil, ErrNoText
	}
	return &Notification{Body: &template.Post{Text: text, Payload: template.Values(message)}, Identity: identity}, nil
}

// withoutTimes returns what identifies a message, some of which may not be as it was posted. A caller that retries
// sends another time: Feishu's callers sign each request with a timestamp, and attachments for Slack may say when they
// were sent.
func withoutTimes(message fields, posted string, unfolded bool) (string, error) {
	attachments := listOf(message["attachments"])
	_, signed := message["sign"]
	if !signed && !unfolded && !strings.Contains(posted, `"ts"`) {
		return posted, nil
	}
	own := maps.Clone(message)
	if signed {
		delete(own, "sign")
		delete(own, "timestamp")
	}
	list := make([]any, len(attachments))
	for i, a := range attachments {
		attachment, isObject := a.(fields)
		if _, timed := attachment["ts"]; !isObject || !timed {
			list[i] = a
			continue
		}
		rest := maps.Clone(attachment)
		delete(rest, "ts")
		list[i] = rest
	}
	if attachments != nil {
		own["attachments"] = list
	}
	encoded, err := json.Marshal(own)
	return string(encoded), err
}

// unfolder decodes JSON in the texts of a message: services take some fields as objects or as texts that hold one.
type unfolder struct {
	// texts were decoded. They have values, at most smallBody.
	texts, values int
	// err tells which text cannot be decoded.
	err error
}

// field decodes a field of an object, if it is a text.
func (u *unfolder) field(o fields, name string) {
	if text, isText := o[name].(string); isText && strings.TrimSpace(text) != "" && u.err == nil {
		o[name] = u.decode(name, text)
	}
}

// decode decodes the text of a field.
func (u *unfolder) decode(name, text string) (v any) {
	// A body that is not large, see IsLarge, must not hold a large one in its texts.
	values, depth := shape([]byte(text))
	u.texts++
	if u.values += values; u.values > smallBody || depth > maxDepth {
		u.err = fmt.Errorf("%s has more than %d values, or values nested more than %d deep", name, smallBody,
			maxDepth)
		return nil
	}
	if err := decodeJSON([]byte(text), "", &v); err != nil {
		u.err = fmt.Errorf("%s must be JSON", name)
	}
	return v
}

// Only values of the expected types are used: services add fields, and callers make mistakes.

func objectOf(v any) fields {
	o, _ := v.(fields)
	return o
}

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

// textOf returns a text, the digits of a number, or the text that an object has.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, "\r\n", "\n")
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	case fields:
		for _, name := range []string{"content", "text"} {
			if text, isText := v[name].(string); isText {
				return textOf(text)
			}
		}
	}
	return ""
}

// field returns the first text that an object has under some names, without blanks around it.
func field(o fields, names ...string) string {
	for _, name := range names {
		if text := strings.TrimSpace(textOf(o[name])); text != "" {
			return text
		}
	}
	return ""
}

// link returns a text with where it leads to.
func link(text, url string) string {
	text, url = strings.TrimSpace(text), strings.TrimSpace(target(url))
	switch {
	case url == "" || text == url:
		return text
	case text == "":
		return url
	}
	return text + " (" + url + ")"
}

// labelled returns a name with its value. A value of several lines begins on a new line.
func labelled(name, value string) string {
	name, value = strings.TrimRight(strings.TrimSpace(name), ":："), strings.TrimSpace(value)
	switch {
	case name == "" || value == "":
		return name + value
	case strings.Contains(value, "\n"):
		return name + ":\n" + value
	}
	return name + ": " + value
}

// writer collects the lines of a text.
type writer struct {
	text strings.Builder
	// markup is how many bytes of markup may still be parsed.
	markup int
}

// line adds lines, unless they are blank. Texts over maxText are left out.
func (w *writer) line(text string) {
	text = strings.TrimRight(strings.Trim(text, "\n"), " \t\n")
	if strings.TrimSpace(text) == "" || w.full() {
		return
	}
	if w.text.Len() > 0 {
		w.text.WriteByte('\n')
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	w.text.WriteString(text)
}

// parse returns what a function makes of markup. What is over the writer's limit, or more than TeamTalk holds, is
// returned as it is.
func (w *writer) parse(text string, of func(markup string) string) string {
	if len(text) > enoughMarkup {
		if end := strings.LastIndexByte(text[:enoughMarkup], '\n'); end > 0 && end <= w.markup {
			if head := of(text[:end]); w.text.Len()+len(head) >= cipher.MaxTextWithToken {
				w.markup -= end
				return head + text[end:]
			}
		}
	}
	markup, rest := w.markupOf(text)
	return of(markup) + rest
}

// markupOf returns the part of a text that may be parsed, whole lines of it, and the rest.
func (w *writer) markupOf(text string) (markup, rest string) {
	if len(text) > w.markup {
		end := max(0, strings.LastIndexByte(text[:w.markup], '\n'))
		text, rest = text[:end], text[end:]
	}
	w.markup -= len(text)
	return text, rest
}

// full reports whether there is no room for another line.
func (w *writer) full() bool { return w.text.Len() >= maxText }

// titled adds a title, unless a line of the text that follows says the same.
func (w *writer) titled(title, text string) {
	if title = strings.TrimSpace(title); !hasLine(text, title) {
		w.line(title)
	}
	w.line(text)
}

// hasLine reports whether a text has a line, or several, with or without where a link on it leads to.
func hasLine(text, line string) bool {
	for after := "\n" + text; ; {
		var found bool
		if _, after, found = strings.Cut(after, "\n"+line); !found {
			return false
		}
		if after == "" || after[0] == '\n' || strings.HasPrefix(after, " (http") {
			return true
		}
	}
}

// mentions adds the names that are mentioned, without those in the text.
func (w *writer) mentions(names ...string) {
	var missing []string
	text := w.String()
	for _, name := range names[:min(len(names), 4*maxMentions)] {
		if name = "@" + strings.TrimPrefix(strings.TrimSpace(name), "@"); len(missing) < maxMentions && name != "@" &&
			!hasName(text, name) && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	w.line(strings.Join(missing, " "))
}

// hasName reports whether a text has a name that does not go on as another one.
func hasName(text, name string) bool {
	for {
		_, rest, found := strings.Cut(text, name)
		if !found {
			return false
		}
		if rest == "" || !strings.ContainsRune(nameRunes, rune(rest[0])) {
			return true
		}
		text = rest
	}
}

// texts returns the texts of a list.
func texts(v any) []string {
	var list []string
	for _, inner := range listOf(v) {
		if text := textOf(inner); text != "" {
			list = append(list, text)
		}
	}
	return list
}

// String returns the text.
func (w *writer) String() string { return w.text.String() }
