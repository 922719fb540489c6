// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"unicode"
	"unicode/utf8"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	gtext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// marks decides which runs of *, _ and ~ are marks, beside characters for which CommonMark's rules of left-flanking and
// right-flanking runs (https://spec.commonmark.org/0.31.2/#left-flanking-delimiter-run) are not made:
//
//   - Chinese has no blanks between words, and its punctuation is full-width. Its characters count as letters, and
//     punctuation beside them does not end a word, as in https://github.com/tats-u/markdown-cjk-friendly.
//   - A label may be bold with its colon: **Host:**db-1.
//   - Inside words of ASCII, and in paths, * is more often an operator or a pattern than a mark: 3*4, src/**/x. Two
//     runs that are both in there do not match.
//   - Nor does _ end emphasis where an identifier goes on: __init__.py.
type marks struct{ parser.InlineParser }

// Parse implements parser.InlineParser.
func (m marks) Parse(parent ast.Node, block gtext.Reader, pc parser.Context) ast.Node {
	before := block.PrecendingCharacter()
	line, _ := block.PeekLine()
	node := m.InlineParser.Parse(parent, block, pc)
	d, isDelimiter := node.(*parser.Delimiter)
	if !isDelimiter {
		return node
	}
	rest := line[d.OriginalLength:]
	after, size := utf8.DecodeRune(rest)
	if size == 0 {
		after = '\n'
	}
	switch {
	case d.Char == '_':
		d.CanClose = d.CanClose && !continues(rest)
	case isCJK(before) || isCJK(after) || d.OriginalLength == 2 && before == ':' && isWord(after):
		d.CanOpen = flanks(before, after)
		d.CanClose = flanks(after, before) || before == ':' && isWord(after)
	case isInside(before, after):
		d.Processor = inside{d.Processor}
	}
	return node
}

// flanks reports whether a run of marks may stand on the side of inner that outer is on.
func flanks(outer, inner rune) bool {
	if util.IsSpaceRune(inner) {
		return false
	}
	return isCJK(inner) || !util.IsPunctRune(inner) || isCJK(outer) || util.IsSpaceRune(outer) || util.IsPunctRune(outer)
}

// continues reports whether an identifier goes on with a text.
func continues(text []byte) bool {
	return len(text) > 1 && isWord(rune(text[1])) && (text[0] == '.' || text[0] == '/' || text[0] == '-' || text[0] == '(')
}

// isInside reports whether what stands between two characters is inside a word, or part of a path.
func isInside(before, after rune) bool {
	isText := func(c rune) bool { return c > ' ' && c < utf8.RuneSelf }
	return isWord(before) && isWord(after) || before == '/' && isText(after) || after == '/' && isText(before)
}

// isWord reports whether a character is a letter or a digit of ASCII.
func isWord(c rune) bool { return c < utf8.RuneSelf && util.IsAlphaNumeric(byte(c)) }

// isCJK reports whether a character is one of Chinese, Japanese or Korean, or of their punctuation. Chinese shares
// quotation marks, the dash and the ellipsis with other languages.
func isCJK(c rune) bool {
	switch {
	case c < 0x2014:
		return false
	case c < 0x2E80:
		return c == '—' || c >= '‘' && c <= '”' || c == '…'
	case c < 0x3100: // radicals, punctuation, kana
		return true
	case c >= 0xFF00 && c <= 0xFFEF: // full-width
		return true
	}
	return unicode.In(c, unicode.Han, unicode.Hangul, unicode.Bopomofo, unicode.Katakana, unicode.Hiragana)
}

// inside processes runs of marks that are inside words.
type inside struct{ parser.DelimiterProcessor }

// CanOpenCloser implements parser.DelimiterProcessor.
func (p inside) CanOpenCloser(opener, closer *parser.Delimiter) bool {
	_, isInside := closer.Processor.(inside)
	return !isInside && p.DelimiterProcessor.CanOpenCloser(opener, closer)
}
