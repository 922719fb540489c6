// SPDX-License-Identifier: Apache-2.0

package notification

import "fmt"

// dingTalkText adds the text of a message for a custom robot of DingTalk.
func dingTalkText(w *writer, message fields) error {
	kind := field(message, "msgtype")
	content := objectOf(message[kind])
	switch kind {
	case "text":
		w.line(field(content, "content"))
	case "markdown":
		w.titled(field(content, "title"), w.plain(field(content, "text")))
	case "link":
		w.titled(field(content, "title"), field(content, "text"))
		w.line(target(field(content, "messageUrl", "messageURL")))
		w.line(field(content, "picUrl", "picURL"))
	case "actionCard":
		w.titled(field(content, "title"), w.plain(field(content, "text")))
		w.line(link(field(content, "singleTitle"), field(content, "singleURL", "singleUrl")))
		for _, b := range listOf(content["btns"]) {
			b := objectOf(b)
			w.line(link(field(b, "title"), field(b, "actionURL", "actionUrl")))
		}
	case "feedCard":
		for _, l := range listOf(content["links"]) {
			l := objectOf(l)
			w.line(link(field(l, "title"), field(l, "messageURL", "messageUrl")))
			w.line(field(l, "picURL", "picUrl"))
		}
	default:
		return fmt.Errorf("%w: msgtype must be text, markdown, link, actionCard or feedCard", ErrMessageType)
	}
	if w.String() == "" {
		return fmt.Errorf("%w: %s has no content", ErrNoText, kind)
	}
	at := objectOf(message["at"])
	var names []string
	for _, list := range []string{"atMobiles", "atUserIds", "atDingtalkIds"} {
		names = append(names, texts(at[list])...)
	}
	if all := field(at, "isAtAll"); all == "true" || all == "1" {
		names = append(names, "all")
	}
	w.mentions(names...)
	return nil
}
