// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	gtext "github.com/yuin/goldmark/text"
)

// bareURL keeps the characters of an address without markup. Its host may be a name without a dot, in a cluster.
// goldmark's Linkify tries each word.
type bareURL struct{}

// Trigger implements parser.InlineParser.
func (bareURL) Trigger() []byte { return []byte{':'} }

// Parse implements parser.InlineParser. The scheme is text already.
func (bareURL) Parse(_ ast.Node, block gtext.Reader, pc parser.Context) ast.Node {
	line, segment := block.PeekLine()
	before := block.Source()[:segment.Start]
	isURL := bytes.HasPrefix(line, []byte("://")) && (bytes.HasSuffix(before, []byte("http")) ||
		bytes.HasSuffix(before, []byte("https")))
	if !isURL || pc.IsInLinkLabel() {
		return nil
	}
	rest := line[:urlEnd(line)]
	block.Advance(len(rest))
	return ast.NewString(rest)
}

// urlEnd returns where an address ends that a text begins with: before blanks, quotes, and the punctuation of Chinese,
// and without punctuation and marks at its end.
func urlEnd(text []byte) int {
	end := bytes.IndexFunc(text, func(c rune) bool {
		return unicode.IsSpace(c) || strings.ContainsRune("<>`\"", c) || isCJK(c) && unicode.IsPunct(c)
	})
	if end < 0 {
		end = len(text)
	}
	for _, mark := range []string{"**", "~~"} {
		if i := bytes.Index(text[:end], []byte(mark)); i >= 0 {
			end = i
		}
	}
	for end > 0 {
		c := text[end-1]
		isOpen := c == ')' && bytes.Count(text[:end], []byte(")")) > bytes.Count(text[:end], []byte("("))
		if !isOpen && strings.IndexByte("?!.,:;'*_~", c) < 0 {
			break
		}
		end--
	}
	return end
}
