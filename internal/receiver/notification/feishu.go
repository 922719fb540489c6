// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// feishuText adds the text of a message for a custom bot of Feishu. Pictures and shared chats are keys of Feishu's own:
// a line says that there was one.
func feishuText(w *writer, message fields) error {
	kind := field(message, "msg_type")
	content := objectOf(message["content"])
	switch kind {
	case "text":
		w.line(feishuMentions(field(content, "text")))
	case "post":
		feishuPost(w, objectOf(content["post"]))
	case "image":
		if len(content) > 0 {
			w.line("[image]")
		}
	case "share_chat":
		if len(content) > 0 {
			w.line("[chat]")
		}
	case "interactive":
		feishuCard(w, objectOf(message["card"]))
	default:
		return fmt.Errorf("%w: msg_type must be text, post, image, share_chat or interactive", ErrMessageType)
	}
	if w.String() == "" {
		return fmt.Errorf("%w: %s has no content", ErrNoText, kind)
	}
	return nil
}

// unfoldFeishu decodes the texts of a message that Feishu takes as JSON.
func unfoldFeishu(u *unfolder, message fields) {
	u.field(message, "content")
	u.field(objectOf(message["content"]), "post")
	if field(message, "msg_type") == "interactive" {
		u.field(message, "card")
	}
}

// feishuMention mentions a user in a text, with a name or without.
var feishuMention = regexp.MustCompile(`<at\s+[a-z_]+=["']?([^"'<>]*)["']?\s*>([^<>]*)</at>`)

// feishuMentions returns a text with @ before those who are mentioned.
func feishuMentions(text string) string {
	if !strings.Contains(text, "<at") {
		return text
	}
	return feishuMention.ReplaceAllStringFunc(text, func(found string) string {
		parts := feishuMention.FindStringSubmatch(found)
		if parts[2] != "" {
			return "@" + strings.TrimPrefix(parts[2], "@")
		}
		return "@" + parts[1]
	})
}

// inLanguage returns what Feishu's clients in China show of a value in several languages.
func inLanguage(all fields) any {
	for _, language := range []string{"zh_cn", "en_us"} {
		if v := all[language]; !isEmpty(v) {
			return v
		}
	}
	for _, language := range slices.Sorted(maps.Keys(all)) {
		if v := all[language]; !isEmpty(v) {
			return v
		}
	}
	return nil
}

func isEmpty(v any) bool {
	return len(objectOf(v))+len(listOf(v)) == 0 && textOf(v) == ""
}

// feishuPost adds a rich text.
func feishuPost(w *writer, post fields) {
	own := objectOf(inLanguage(post))
	w.line(field(own, "title"))
	for _, line := range listOf(own["content"]) {
		if w.full() {
			return
		}
		var b strings.Builder
		for _, e := range listOf(line) {
			e := objectOf(e)
			switch field(e, "tag") {
			case "a":
				b.WriteString(link(textOf(e["text"]), field(e, "href")))
			case "at":
				b.WriteString("@" + field(e, "user_name", "user_id"))
			case "img":
				b.WriteString("[image]")
			case "media":
				b.WriteString("[video]")
			case "emotion":
				b.WriteString("[" + field(e, "emoji_type") + "]")
			case "hr":
				b.WriteString("---")
			case "md":
				b.WriteString(w.plain(textOf(e["text"])))
			default: // text, code_block
				b.WriteString(feishuMentions(textOf(e["text"])))
			}
		}
		w.line(b.String())
	}
}
