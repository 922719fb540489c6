// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	gtext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// markdownParser parses what robots and bots take: the common part of markdown, tables, and tags of HTML in lines.
// Left out are blocks of HTML, whose content would not be parsed, underlined headings, and references to links.
var markdownParser = parser.NewParser(
	parser.WithBlockParsers(
		util.Prioritized(parser.NewThematicBreakParser(), 200),
		util.Prioritized(parser.NewListParser(), 300),
		util.Prioritized(parser.NewListItemParser(), 400),
		util.Prioritized(parser.NewCodeBlockParser(), 500),
		util.Prioritized(parser.NewATXHeadingParser(), 600),
		util.Prioritized(parser.NewFencedCodeBlockParser(), 700),
		util.Prioritized(parser.NewBlockquoteParser(), 800),
		util.Prioritized(paragraphs{parser.NewParagraphParser()}, 1000),
	),
	parser.WithInlineParsers(
		util.Prioritized(parser.NewCodeSpanParser(), 100),
		util.Prioritized(parser.NewLinkParser(), 200),
		util.Prioritized(parser.NewAutoLinkParser(), 300),
		util.Prioritized(parser.NewRawHTMLParser(), 400),
		util.Prioritized(doubleTilde{marks{extension.NewStrikethroughParser()}}, 450),
		util.Prioritized(marks{parser.NewEmphasisParser()}, 500),
		util.Prioritized(bareURL{}, 999),
	),
	parser.WithParagraphTransformers(util.Prioritized(tables{extension.NewTableParagraphTransformer()}, 200)),
)

// paragraphs begins a paragraph with a line that is less indented than the item of a list before it. In markdown it
// continues with the item, which no service shows so: Grafana's default text for WeCom has Annotations: below a list.
type paragraphs struct{ parser.BlockParser }

// Open implements parser.BlockParser.
func (p paragraphs) Open(parent ast.Node, reader gtext.Reader, pc parser.Context) (ast.Node, parser.State) {
	last := pc.LastOpenedBlock().Node
	if last != nil && ast.IsParagraph(last) {
		if _, inItem := last.Parent().(*ast.ListItem); !inItem || last.Parent() == parent {
			return nil, parser.NoChildren // goes on
		}
	}
	return p.BlockParser.Open(parent, reader, pc)
}

// CanInterruptParagraph implements parser.BlockParser.
func (paragraphs) CanInterruptParagraph() bool { return true }

// doubleTilde requires two tildes for struck text. One is the mark of a range, such as 10~20.
type doubleTilde struct{ parser.InlineParser }

// Parse implements parser.InlineParser.
func (d doubleTilde) Parse(parent ast.Node, block gtext.Reader, pc parser.Context) ast.Node {
	line, _ := block.PeekLine()
	if tildes := len(line) - len(bytes.TrimLeft(line, "~")); tildes != 2 {
		return nil
	}
	return d.InlineParser.Parse(parent, block, pc)
}

// maxCells limits the cells of a table: each row gets as many as the first one, so that a few bytes make many.
const maxCells = 4096

// tables makes tables of paragraphs, unless they have too many cells, or a row has more cells than the table: these
// would be lost.
type tables struct{ parser.ParagraphTransformer }

// Transform implements parser.ParagraphTransformer.
func (t tables) Transform(n *ast.Paragraph, reader gtext.Reader, pc parser.Context) {
	columns, widest, lines := 0, 0, n.Lines()
	for i := range lines.Len() {
		line := lines.At(i)
		row := bytes.TrimSpace(line.Value(reader.Source()))
		cells := bytes.Count(bytes.TrimSuffix(bytes.TrimPrefix(row, []byte("|")), []byte("|")), []byte("|")) + 1
		if columns == 0 && i > 0 && len(bytes.Trim(row, "|:- \t")) == 0 {
			columns = cells
		}
		if columns > 0 {
			widest = max(widest, cells)
		}
	}
	if columns > 0 && widest <= columns && columns*lines.Len() <= maxCells {
		t.ParagraphTransformer.Transform(n, reader, pc)
	}
}

// plain returns the text of markdown. What is over the writer's limit, or more than TeamTalk holds, is returned as it
// is.
func (w *writer) plain(markdown string) string {
	markdown = strings.ReplaceAll(markdown, "\r\n", "\n")
	if !strings.ContainsAny(markdown, "*_`~#>[]()<|\\&-+.") {
		return strings.TrimSpace(markdown)
	}
	return w.parse(markdown, markdownText)
}

// markdownText returns the text of markdown.
func markdownText(markdown string) string {
	if strings.Contains(markdown, "_tag") {
		markdown = feishuTags.ReplaceAllString(markdown, "")
	}
	source := []byte(markdown)
	p := &plainText{source: source, out: make([]byte, 0, len(source))}
	p.blocks(markdownParser.Parse(gtext.NewReader(source)), "")
	text := string(p.out)
	if strings.Contains(text, "<@") {
		text = wecomMention.ReplaceAllString(text, "@$1")
	}
	return text
}

var (
	// wecomMention mentions a user in WeCom's markdown.
	wecomMention = regexp.MustCompile(`<@([^<>\s]{1,64})>`)
	// feishuTags are tags of Feishu's markdown that HTML does not allow.
	feishuTags = regexp.MustCompile(`</?(?:text_tag|number_tag)(?:\s[^<>]*)?>`)
)

// plainText makes a text of the nodes of markdown.
type plainText struct {
	source, out []byte
	// lead begins the next line instead of its indent: the mark of an item of a list.
	lead string
	// href is where the tag a that is open leads to.
	href string
}

// blocks adds the lines of the blocks in a node, each after an indent.
func (p *plainText) blocks(parent ast.Node, indent string) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.List:
			p.list(n, indent)
		case *east.Table:
			for row := n.FirstChild(); row != nil; row = row.NextSibling() {
				p.block(row, indent)
			}
		case *ast.Blockquote:
			p.blocks(n, indent)
		default:
			p.block(n, indent)
		}
	}
}

// maxIndent is the longest indent of lists in each other, in bytes.
const maxIndent = 16

// list adds the items of a list.
func (p *plainText) list(list *ast.List, indent string) {
	number, inner := list.Start, indent
	if len(inner) < maxIndent {
		inner += "  "
	}
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		mark := "• "
		if list.IsOrdered() {
			mark = strconv.Itoa(number) + ". "
			number++
		}
		outer := p.lead
		if p.lead = outer + mark; outer == "" {
			p.lead = indent + mark
		}
		if p.blocks(item, inner); p.lead != "" {
			p.lead = outer // the item is empty
		}
	}
}

// block adds the lines of a block, each after an indent.
func (p *plainText) block(n ast.Node, indent string) {
	if len(p.out) > 0 {
		p.out = append(p.out, '\n')
	}
	begins := indent
	if p.lead != "" {
		begins, p.lead = p.lead, ""
	}
	p.out = append(p.out, begins...)
	start := len(p.out)
	p.content(n)
	text := bytes.Trim(p.out[start:], "\n")
	if len(begins) > len(indent) { // a mark
		text = bytes.TrimLeft(text, " ")
	}
	if bytes.IndexByte(text, '\n') < 0 {
		p.out = append(p.out[:start], bytes.TrimRight(text, " ")...)
		return
	}
	lines := string(text)
	p.out = p.out[:start]
	for line := range strings.SplitSeq(lines, "\n") {
		if len(p.out) > start {
			p.out = append(append(p.out, '\n'), indent...)
		}
		p.out = append(p.out, strings.TrimRight(line, " ")...)
	}
}

// content adds what is in a block.
func (p *plainText) content(n ast.Node) {
	switch n := n.(type) {
	case *ast.ThematicBreak:
		p.out = append(p.out, "---"...)
	case *ast.FencedCodeBlock, *ast.CodeBlock:
		for i := range n.Lines().Len() {
			line := n.Lines().At(i)
			p.out = append(p.out, line.Value(p.source)...)
		}
	case *east.TableHeader, *east.TableRow:
		for cell := n.FirstChild(); cell != nil; cell = cell.NextSibling() {
			if cell != n.FirstChild() {
				p.out = append(p.out, " | "...)
			}
			p.inlines(cell)
		}
	default:
		p.inlines(n)
	}
}

// link adds a link, or a picture.
func (p *plainText) link(n ast.Node, destination []byte) {
	start := len(p.out)
	p.inlines(n)
	text := string(p.out[start:])
	p.out = append(p.out[:start], link(text, string(unescape(destination)))...)
}

// inlines adds what is in a node's lines.
func (p *plainText) inlines(parent ast.Node) {
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			p.out = append(p.out, unescape(n.Segment.Value(p.source))...)
			if n.SoftLineBreak() || n.HardLineBreak() {
				p.out = append(p.out, '\n')
			}
		case *ast.String:
			p.out = append(p.out, n.Value...)
		case *ast.CodeSpan:
			for c := n.FirstChild(); c != nil; c = c.NextSibling() {
				if c, isText := c.(*ast.Text); isText {
					p.out = append(p.out, c.Segment.Value(p.source)...)
				}
			}
		case *ast.Link:
			p.link(n, n.Destination)
		case *ast.Image:
			p.link(n, n.Destination)
		case *ast.AutoLink:
			p.out = append(p.out, n.URL(p.source)...)
		case *ast.RawHTML:
			p.out = append(p.out, p.tag(string(n.Segments.Value(p.source)), n.NextSibling())...)
		default:
			p.inlines(n)
		}
	}
}

// unescape returns a text without backslashes before punctuation, and with the characters that entities name.
func unescape(source []byte) []byte {
	if bytes.IndexByte(source, '\\') >= 0 {
		source = util.UnescapePunctuations(source)
	}
	if bytes.IndexByte(source, '&') >= 0 {
		source = util.ResolveEntityNames(util.ResolveNumericReferences(source))
	}
	return source
}

// tagName finds the name of a tag, attribute its attributes.
var (
	tagName   = regexp.MustCompile(`^<(/?)([A-Za-z_][A-Za-z0-9_-]*)`)
	attribute = regexp.MustCompile(`([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))`)
)

// attributeOf returns an attribute of a tag.
func attributeOf(tag string, names ...string) string {
	for _, found := range attribute.FindAllStringSubmatch(tag, -1) {
		for _, name := range names {
			if strings.EqualFold(found[1], name) {
				return found[2] + found[3] + found[4]
			}
		}
	}
	return ""
}

// markup are tags that services take in markdown, and that have no text of their own.
var markup = map[string]bool{
	"font": true, "b": true, "strong": true, "i": true, "em": true, "u": true, "s": true, "del": true, "code": true,
	"span": true, "div": true, "p": true, "center": true, "h1": true, "h2": true, "h3": true, "h4": true, "ul": true,
	"ol": true, "sub": true, "sup": true, "small": true, "big": true,
}

// tag returns the text of a tag before a node. A tag that is none of a service's is text, such as <pod>.
func (p *plainText) tag(tag string, next ast.Node) string {
	found := tagName.FindStringSubmatch(tag)
	if found == nil {
		return tag
	}
	closes, name := found[1] != "", strings.ToLower(found[2])
	switch {
	case markup[name]:
		return withoutMarkup(tag, tag[len(found[0]):])
	case name == "br":
		return "\n"
	case name == "li" && !closes:
		return "\n• "
	case name == "li", name == "at" && closes:
		return ""
	case name == "at":
		// Between the tags is the name, if any.
		if raw, isTag := next.(*ast.RawHTML); isTag || next == nil {
			if next == nil || strings.HasPrefix(string(raw.Segments.Value(p.source)), "</at") {
				return "@" + attributeOf(tag, "user_id", "id", "email", "ids")
			}
		}
		return "@"
	case name == "person":
		return person(tag, closes)
	case name == "img":
		return link(attributeOf(tag, "alt"), attributeOf(tag, "src"))
	case (name == "a" || name == "link") && !closes:
		p.href = attributeOf(tag, "href", "url")
		return ""
	case name == "a", name == "link":
		href := target(p.href)
		if p.href = ""; href == "" {
			return ""
		}
		return " (" + href + ")"
	}
	return tag
}

// person returns the text of Feishu's tag person.
func person(tag string, closes bool) string {
	id := attributeOf(tag, "id")
	switch {
	case closes:
		return ""
	case id == "":
		return tag
	}
	return "@" + id
}

// withoutMarkup returns nothing for a tag with nothing after its name, or attributes. Others are text: a<b and c>d.
func withoutMarkup(tag, rest string) string {
	if strings.Trim(rest, " \t/>") == "" || strings.Contains(rest, "=") {
		return ""
	}
	return tag
}

// target returns where a link leads to. DingTalk's own links open an address in its window.
func target(address string) string {
	if !strings.HasPrefix(address, "dingtalk://") {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if inner := u.Query().Get("url"); inner != "" {
		return inner
	}
	return address
}
