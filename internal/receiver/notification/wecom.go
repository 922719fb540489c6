// SPDX-License-Identifier: Apache-2.0

package notification

import "fmt"

// weComText adds the text of a message for a group robot of WeCom. Pictures in the message itself, files and voices
// cannot be shown: a line says that there was one.
func weComText(w *writer, message fields) error {
	kind := field(message, "msgtype")
	content := objectOf(message[kind])
	switch kind {
	case "text":
		if w.line(field(content, "content")); w.String() == "" {
			break
		}
		names := append(texts(content["mentioned_list"]), texts(content["mentioned_mobile_list"])...)
		w.mentions(names...)
	case "markdown", "markdown_v2":
		w.line(w.plain(field(content, "content")))
	case "news":
		for _, a := range listOf(content["articles"]) {
			a := objectOf(a)
			w.line(link(field(a, "title"), field(a, "url")))
			w.line(field(a, "description"))
			w.line(field(a, "picurl"))
		}
	case "image", "file", "voice":
		if len(content) > 0 {
			w.line("[" + kind + "]")
		}
	case "template_card":
		weComCard(w, content)
	default:
		return fmt.Errorf("%w: msgtype must be text, markdown, markdown_v2, image, news, file, voice or template_card",
			ErrMessageType)
	}
	if w.String() == "" {
		return fmt.Errorf("%w: %s has no content", ErrNoText, kind)
	}
	return nil
}

// weComCard adds a card of type text_notice or news_notice.
func weComCard(w *writer, card fields) {
	pair := func(name string) {
		part := objectOf(card[name])
		w.line(labelled(field(part, "title"), field(part, "desc")))
	}
	w.line(field(objectOf(card["source"]), "desc"))
	pair("main_title")
	pair("emphasis_content")
	w.line(field(card, "sub_title_text"))
	quote := objectOf(card["quote_area"])
	w.line(link(labelled(field(quote, "title"), field(quote, "quote_text")), field(quote, "url")))
	picture := objectOf(card["image_text_area"])
	w.line(link(labelled(field(picture, "title"), field(picture, "desc")), field(picture, "url")))
	for _, v := range listOf(card["vertical_content_list"]) {
		v := objectOf(v)
		w.line(labelled(field(v, "title"), field(v, "desc")))
	}
	for _, h := range listOf(card["horizontal_content_list"]) {
		h := objectOf(h)
		w.line(link(labelled(field(h, "keyname"), field(h, "value")), field(h, "url")))
	}
	for _, j := range listOf(card["jump_list"]) {
		j := objectOf(j)
		w.line(link(field(j, "title"), field(j, "url")))
	}
	w.line(field(objectOf(card["card_action"]), "url"))
	w.line(field(objectOf(card["card_image"]), "url"))
}
