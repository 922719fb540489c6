// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"errors"
	"mime"
	"net/url"
	"strings"
)

// decodeSlack decodes what incoming webhooks of Slack, Mattermost and Rocket.Chat accept: JSON, or a form whose field
// payload has it.
func decodeSlack(body []byte, contentType string) (*Notification, error) {
	slack := chat{slackText, unfoldSlack}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	if mediaType != "application/x-www-form-urlencoded" && !strings.HasPrefix(string(body), "payload=") {
		return slack.decode(body, contentType)
	}
	if trimmed := strings.TrimSpace(string(body)); strings.HasPrefix(trimmed, "{") {
		return slack.decode(body, contentType) // curl -d always sends this type
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("the body is not a form")
	}
	decoded, err := ToUTF8([]byte(form.Get("payload")), contentType)
	if err != nil {
		return nil, err
	}
	payload := string(decoded)
	if strings.TrimSpace(payload) == "" {
		return nil, errors.New("the form has no field payload")
	}
	var u unfolder
	message := u.decode("payload", payload)
	if u.err != nil {
		return nil, u.err
	}
	return slack.notification(message, payload)
}

// unfoldSlack decodes the texts of a message that Slack's API takes as JSON.
func unfoldSlack(u *unfolder, message fields) {
	u.field(message, "blocks")
	u.field(message, "attachments")
	for _, a := range listOf(message["attachments"]) {
		u.field(objectOf(a), "blocks")
	}
}

// slackText adds the text of a message for Slack: its text, its blocks, and its attachments.
func slackText(w *writer, message fields) error {
	text := w.mrkdwn(textOf(message["text"]))
	rest := &writer{markup: w.markup}
	slackBlocks(rest, message["blocks"])
	for _, a := range listOf(message["attachments"]) {
		if rest.full() {
			break
		}
		slackAttachment(rest, objectOf(a))
	}
	// With blocks and attachments the text is for notifications, and often says what they say.
	w.titled(text, rest.String())
	return nil
}

// slackAttachment adds an attachment. Its fallback is for clients that show no attachments.
func slackAttachment(w *writer, a fields) {
	before := w.text.Len()
	w.line(w.mrkdwn(textOf(a["pretext"])))
	w.line(link(field(a, "author_name"), field(a, "author_link")))
	w.line(link(w.mrkdwn(textOf(a["title"])), field(a, "title_link")))
	slackBlocks(w, a["blocks"])
	w.line(w.mrkdwn(textOf(a["text"])))
	for _, f := range listOf(a["fields"]) {
		f := objectOf(f)
		w.line(labelled(w.mrkdwn(textOf(f["title"])), w.mrkdwn(textOf(f["value"]))))
	}
	for _, action := range listOf(a["actions"]) {
		slackButton(w, objectOf(action))
	}
	for _, name := range []string{"image_url", "thumb_url", "message_link"} {
		w.line(field(a, name))
	}
	w.line(w.mrkdwn(textOf(a["footer"])))
	if w.text.Len() == before {
		w.line(w.mrkdwn(textOf(a["fallback"])))
	}
}

// slackButton adds a button: its link, or its label.
func slackButton(w *writer, b fields) {
	name := w.mrkdwn(field(b, "text", "name", "placeholder"))
	if address := field(b, "url"); address != "" {
		w.line(link(name, address))
	} else if name != "" {
		w.line("[" + name + "]")
	}
}

// slackBlocks adds blocks.
func slackBlocks(w *writer, blocks any) {
	for _, b := range listOf(blocks) {
		if w.full() {
			return
		}
		b := objectOf(b)
		switch field(b, "type") {
		case "divider":
			w.line("---")
		case "image", "video":
			w.line(link(w.mrkdwn(field(b, "title", "alt_text")), field(b, "image_url", "title_url", "video_url")))
		case "actions":
			for _, e := range listOf(b["elements"]) {
				slackButton(w, objectOf(e))
			}
		case "context":
			w.line(strings.Join(w.slackElements(b["elements"]), " "))
		case "rich_text":
			slackRichText(w, b["elements"], "")
		case "markdown":
			w.line(w.plain(textOf(b["text"])))
		case "table":
			slackTable(w, b)
		default: // section, header, and those that are not known here
			w.line(w.mrkdwn(textOf(b["text"])))
			for _, f := range w.slackElements(b["fields"]) {
				w.line(f)
			}
			if accessory := objectOf(b["accessory"]); accessory != nil {
				slackAccessory(w, accessory)
			}
		}
	}
}

// slackAccessory adds the accessory of a section.
func slackAccessory(w *writer, a fields) {
	if field(a, "type") == "image" {
		w.line(link(field(a, "alt_text"), field(a, "image_url")))
		return
	}
	slackButton(w, a)
}

// slackElements returns the texts and pictures of a list.
func (w *writer) slackElements(v any) []string {
	var list []string
	for _, e := range listOf(v) {
		text := w.mrkdwn(textOf(e))
		if o := objectOf(e); field(o, "type") == "image" {
			text = link(field(o, "alt_text"), field(o, "image_url"))
		}
		if text = strings.TrimSpace(text); text != "" {
			list = append(list, text)
		}
	}
	return list
}

// slackTable adds a table, a line for each row.
func slackTable(w *writer, table fields) {
	for _, row := range listOf(table["rows"]) {
		var cells []string
		for _, cell := range listOf(row) {
			cell := objectOf(cell)
			if field(cell, "type") == "rich_text" {
				inner := &writer{}
				slackRichText(inner, cell["elements"], "")
				cells = append(cells, inner.String())
			} else {
				cells = append(cells, field(cell, "text"))
			}
		}
		w.line(strings.Join(cells, " | "))
	}
}

// slackRichText adds the parts of a rich text, each after a prefix.
func slackRichText(w *writer, elements any, prefix string) {
	for i, e := range listOf(elements) {
		e := objectOf(e)
		switch field(e, "type") {
		case "rich_text_list":
			slackList(w, e, prefix)
		case "rich_text_quote":
			w.line("> " + slackInline(e["elements"]))
		default:
			text := slackInline(e["elements"])
			if i > 0 || prefix == "" {
				w.line(text)
				continue
			}
			w.line(prefix + text)
		}
	}
}

// slackList adds the items of a list.
func slackList(w *writer, list fields, prefix string) {
	indent := prefix
	switch field(list, "indent") {
	case "", "0":
	case "1":
		indent += "  "
	default:
		indent += "    "
	}
	for i, item := range listOf(list["elements"]) {
		mark := "• "
		if field(list, "style") == "ordered" {
			mark = ordinal(i)
		}
		w.line(indent + mark + strings.TrimSpace(slackInline(objectOf(item)["elements"])))
	}
}

// slackInline returns the text of the elements of a line.
func slackInline(elements any) string {
	var b strings.Builder
	for _, e := range listOf(elements) {
		e := objectOf(e)
		switch field(e, "type") {
		case "link":
			b.WriteString(link(textOf(e["text"]), field(e, "url")))
		case "emoji":
			b.WriteString(":" + field(e, "name") + ":")
		case "user":
			b.WriteString("@" + field(e, "user_id"))
		case "usergroup":
			b.WriteString("@" + field(e, "usergroup_id"))
		case "channel":
			b.WriteString("#" + field(e, "channel_id"))
		case "broadcast":
			b.WriteString("@" + field(e, "range"))
		case "date":
			b.WriteString(field(e, "fallback"))
		default:
			b.WriteString(textOf(e["text"]))
		}
	}
	return b.String()
}
