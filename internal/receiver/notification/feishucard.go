// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"maps"
	"slices"
	"strings"
)

// feishuCard adds an interactive card, of version 1 or 2, or one that Feishu makes of a template: its variables.
func feishuCard(w *writer, card fields) {
	header := objectOf(card["header"])
	w.line(w.feishuString(objectOf(header["title"])))
	w.line(w.feishuString(objectOf(header["subtitle"])))
	for _, tag := range listOf(header["text_tag_list"]) {
		w.line(w.feishuString(objectOf(objectOf(tag)["text"])))
	}
	elements := card["elements"]
	if body := objectOf(card["body"]); body != nil {
		elements = body["elements"]
	}
	if elements == nil {
		elements = inLanguage(objectOf(card["i18n_elements"]))
	}
	w.feishuElements(elements)
	if field(card, "type") == "template" {
		w.feishuTemplate(objectOf(card["data"]))
	}
	w.line(field(objectOf(card["card_link"]), "url"))
}

// feishuTemplate adds the variables of a template, which Feishu alone has.
func (w *writer) feishuTemplate(data fields) {
	variables := objectOf(data["template_variable"])
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		w.line(labelled(name, textOf(variables[name])))
	}
}

// feishuString returns the text of a text fields.
func (w *writer) feishuString(text fields) string {
	content := feishuContent(text)
	if field(text, "tag") == "lark_md" || field(text, "tag") == "markdown" {
		return w.plain(content)
	}
	return feishuMentions(content)
}

// feishuContent returns the content of a text: the one for all languages, or that of one of them.
func feishuContent(text fields) string {
	if content := field(text, "content"); content != "" {
		return content
	}
	for _, name := range []string{"i18n", "i18n_content"} {
		if content := textOf(inLanguage(objectOf(text[name]))); content != "" {
			return content
		}
	}
	return ""
}

// feishuElements adds the elements of a card. Those in them are within the limit of a body's depth.
func (w *writer) feishuElements(elements any) {
	for _, e := range listOf(elements) {
		if w.full() {
			return
		}
		// Version 1 of cards for messages in several columns has lists of elements.
		if inner := listOf(e); inner != nil {
			w.feishuElements(inner)
			continue
		}
		w.feishuElement(objectOf(e))
	}
}

func (w *writer) feishuElement(e fields) {
	switch field(e, "tag") {
	case "hr":
		w.line("---")
	case "markdown", "lark_md":
		w.line(w.plain(feishuContent(e)))
	case "plain_text":
		w.line(feishuMentions(field(e, "content")))
	case "img":
		alt := field(objectOf(e["alt"]), "content")
		w.line(strings.TrimSpace("[image] " + alt))
	case "img_combination":
		w.line("[image]")
	case "note":
		var parts []string
		for _, part := range listOf(e["elements"]) {
			if text := w.feishuString(objectOf(part)); text != "" {
				parts = append(parts, text)
			}
		}
		w.line(strings.Join(parts, " "))
	case "person":
		w.line("@" + field(e, "user_id"))
	case "person_list":
		for _, p := range listOf(e["persons"]) {
			w.line("@" + field(objectOf(p), "id"))
		}
	case "table":
		w.feishuTable(e)
	case "chart":
		w.feishuChart(objectOf(e["chart_spec"]))
	case "button", "overflow", "select_static", "date_picker", "picker_time", "picker_datetime", "input":
		w.feishuButton(e)
	default: // div, column_set, column, action, form, collapsible_panel and those that are not known here
		w.feishuContainer(e)
	}
}

// feishuContainer adds the content of an element.
func (w *writer) feishuContainer(e fields) {
	w.line(w.feishuString(objectOf(objectOf(e["header"])["title"])))
	w.line(w.feishuString(objectOf(e["text"])))
	for _, f := range listOf(e["fields"]) {
		w.line(w.feishuString(objectOf(objectOf(f)["text"])))
	}
	if extra := objectOf(e["extra"]); extra != nil {
		w.feishuElement(extra)
	}
	for _, name := range []string{"elements", "columns", "actions"} {
		w.feishuElements(e[name])
	}
}

// feishuButton adds a button: its link, or its label.
func (w *writer) feishuButton(b fields) {
	name := w.feishuString(objectOf(b["text"]))
	if name == "" {
		name = w.feishuString(objectOf(b["placeholder"]))
	}
	addresses := []string{field(b, "url"), field(objectOf(b["multi_url"]), "url", "pc_url")}
	for _, behavior := range listOf(b["behaviors"]) {
		addresses = append(addresses, field(objectOf(behavior), "default_url"))
	}
	for _, address := range addresses {
		if address != "" {
			w.line(link(name, address))
			return
		}
	}
	if name != "" {
		w.line("[" + name + "]")
	}
	for _, option := range listOf(b["options"]) {
		o := objectOf(option)
		if address := field(o, "url"); address != "" {
			w.line(link(w.feishuString(objectOf(o["text"])), address))
		}
	}
}

// feishuTable adds a table, a line for each row.
func (w *writer) feishuTable(table fields) {
	var names, titles, kinds []string
	for _, c := range listOf(table["columns"]) {
		c := objectOf(c)
		names = append(names, field(c, "name"))
		titles = append(titles, field(c, "display_name", "name"))
		kinds = append(kinds, field(c, "data_type"))
	}
	w.line(strings.Join(titles, " | "))
	for _, row := range listOf(table["rows"]) {
		if w.full() {
			return
		}
		row, cells := objectOf(row), make([]string, len(names))
		for i, name := range names {
			cells[i] = w.feishuCell(kinds[i], row[name])
		}
		w.line(strings.Join(cells, " | "))
	}
}

// feishuCell returns the text of a cell of a kind of column. Options and persons are lists.
func (w *writer) feishuCell(kind string, v any) string {
	var words []string
	for _, inner := range listOf(v) {
		words = append(words, w.feishuCell(kind, inner))
	}
	if words != nil {
		return strings.Join(words, ", ")
	}
	text := textOf(v)
	switch {
	case kind == "persons" && text != "":
		return "@" + text
	case kind == "markdown", kind == "lark_md":
		return strings.ReplaceAll(w.plain(text), "\n", " ")
	}
	return text
}

// feishuChart adds the content of a chart: its title, and a line for each value. Its format is that of
// https://www.visactor.io/vchart.
func (w *writer) feishuChart(chart fields) {
	w.line(field(objectOf(chart["title"]), "text"))
	data := listOf(chart["data"])
	if data == nil {
		data = []any{chart["data"]}
	}
	var axes []string
	for _, name := range []string{"xField", "categoryField", "seriesField", "yField", "valueField"} {
		for _, axis := range append(texts(chart[name]), field(chart, name)) {
			if axis != "" && !slices.Contains(axes, axis) {
				axes = append(axes, axis)
			}
		}
	}
	for _, set := range data {
		for _, v := range listOf(objectOf(set)["values"]) {
			if w.full() {
				return
			}
			v, names := objectOf(v), axes
			if names == nil {
				names = slices.Sorted(maps.Keys(v))
			}
			var cells []string
			for _, name := range names {
				if text := textOf(v[name]); text != "" {
					cells = append(cells, text)
				}
			}
			w.line(strings.Join(cells, " | "))
		}
	}
}
