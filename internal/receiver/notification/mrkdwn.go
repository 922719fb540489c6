// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	// Mattermost and Rocket.Chat take links and bold text as markdown has them.
	markdownLink = regexp.MustCompile(`!?\[([^\[\]\n]+)\]\((https?://[^\s()]+)\)`)
	// address is one in a link, or in the text. It keeps its characters.
	address        = regexp.MustCompile(`https?://[^\s<>|]+`)
	mrkdwnEntities = strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">")
)

// mrkdwn returns the text of Slack's markup. What is between backquotes keeps its characters. What is over the writer's
// limit, or more than TeamTalk holds, is returned as it is.
func (w *writer) mrkdwn(text string) string {
	if !strings.ContainsAny(text, "<&*_~[") {
		return text
	}
	return w.parse(text, mrkdwnText)
}

// mrkdwnText returns the text of Slack's markup.
func mrkdwnText(text string) string {
	var b strings.Builder
	for i, part := range strings.Split(text, "`") {
		if i > 0 {
			b.WriteByte('`')
		}
		if i%2 == 0 {
			part = withoutEmphasis(part)
		}
		b.WriteString(part)
	}
	text = b.String()
	if strings.Contains(text, "](http") {
		text = markdownLink.ReplaceAllStringFunc(text, func(found string) string {
			parts := markdownLink.FindStringSubmatch(found)
			return link(parts[1], parts[2])
		})
	}
	return mrkdwnEntities.Replace(withoutReferences(text))
}

// withoutEmphasis returns a text without the marks of bold, italic and struck text. They begin and end at the edges of
// words, within a line. Those of markdown's bold and struck text are double.
func withoutEmphasis(text string) string {
	if !strings.ContainsAny(text, "*_~") {
		return text
	}
	dropped, original := make([]bool, len(text)), text
	text = address.ReplaceAllStringFunc(text, func(found string) string { return strings.Map(notAMark, found) })
	for i := 0; i < len(text); i++ {
		mark := text[i]
		if dropped[i] || !isMark(mark) {
			continue
		}
		width := run(text, i)
		from := i + width
		// The next mark of the kind closes, or nothing does: so the work is linear.
		end := from + strings.IndexAny(text[from:], string(mark)+"\n")
		if width <= 2 && (width == 1 || mark != '_') && end > from && text[end] == mark && run(text, end) == width &&
			isEdge(text, i-1) && isEdge(text, end+width) && !isBlank(text[from]) && !isBlank(text[end-1]) {
			for n := range width {
				dropped[i+n], dropped[end+n] = true, true
			}
		}
		i = from - 1
	}
	kept := make([]byte, 0, len(original))
	for i := range len(original) {
		if !dropped[i] {
			kept = append(kept, original[i])
		}
	}
	return string(kept)
}

// notAMark replaces a mark by another character of its length.
func notAMark(c rune) rune {
	if c < utf8.RuneSelf && isMark(byte(c)) {
		return 'x'
	}
	return c
}

func isMark(c byte) bool { return c == '*' || c == '_' || c == '~' }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isEdge reports whether a word may begin or end beside a character of a text, or beside its end.
func isEdge(text string, i int) bool {
	return i < 0 || i >= len(text) || text[i] >= utf8.RuneSelf ||
		strings.IndexByte(" \t\n()[]{}<>\"'.,:;!?|/*_~", text[i]) >= 0
}

// run returns how often a character stands at a place of a text.
func run(text string, i int) int {
	n := 1
	for i+n < len(text) && text[i+n] == text[i] {
		n++
	}
	return n
}

// withoutReferences returns a text in which the references between < and > are replaced by their texts.
func withoutReferences(text string) string {
	if !strings.Contains(text, "<") {
		return text
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "<")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		end := strings.IndexAny(rest, "<>\n")
		if end <= 0 || rest[end] != '>' {
			b.WriteByte('<')
			text = rest
			continue
		}
		address, name, _ := strings.Cut(rest[:end], "|")
		b.WriteString(mrkdwnReference(address, name))
		text = rest[end+1:]
	}
}

// mrkdwnReference returns the text of a reference between < and >: a link, or a mention.
func mrkdwnReference(address, name string) string {
	switch {
	case strings.HasPrefix(address, "@"):
		if name != "" {
			return "@" + strings.TrimPrefix(name, "@")
		}
		return address
	case strings.HasPrefix(address, "#"):
		if name != "" {
			return "#" + strings.TrimPrefix(name, "#")
		}
		return address
	case strings.HasPrefix(address, "!date^"):
		return name
	case strings.HasPrefix(address, "!"):
		if name == "" {
			name = strings.TrimPrefix(strings.TrimPrefix(address, "!"), "subteam^")
		}
		return "@" + strings.TrimPrefix(name, "@")
	case strings.Contains(address, ":") && !strings.ContainsAny(address, " \t"):
		return link(name, strings.TrimPrefix(address, "mailto:"))
	}
	// No markup, such as <pod>.
	if name != "" {
		address += "|" + name
	}
	return "<" + address + ">"
}

// ordinal returns the mark of an item of an ordered list, of which i come before.
func ordinal(i int) string { return strconv.Itoa(i+1) + ". " }
