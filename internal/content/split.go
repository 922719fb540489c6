// SPDX-License-Identifier: Apache-2.0

package content

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// splitText splits a text into segments of at most limit bytes, each prefixed with its number, such as "(2/3) ". It
// splits at the end of a line in the second half of a segment, or else at a blank, or else between two characters. The
// line end or blank is left out.
func splitText(text string, limit int) [][]byte {
	// Room for the longest number, of as many segments as there may be.
	room := limit - len(segmentNumber(99, 99))
	var pieces []string
	for len(text) > room {
		piece := text[:room]
		for !utf8.RuneStart(text[len(piece)]) {
			piece = piece[:len(piece)-1]
		}
		rest := text[len(piece):]
		if i := strings.LastIndexByte(piece, '\n'); i >= room/2 {
			piece, rest = piece[:i], text[i+1:]
		} else if i := strings.LastIndexByte(piece, ' '); i >= room/2 {
			piece, rest = piece[:i], text[i+1:]
		}
		pieces = append(pieces, piece)
		text = rest
	}
	if text != "" {
		pieces = append(pieces, text)
	}
	segments := make([][]byte, len(pieces))
	for i, piece := range pieces {
		segments[i] = []byte(segmentNumber(i+1, len(pieces)) + piece)
	}
	return segments
}

func segmentNumber(n, of int) string { return fmt.Sprintf("(%d/%d) ", n, of) }
