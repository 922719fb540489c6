package teamtalkmessage

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// split cuts a text into parts of at most limit bytes, each with its number before
// it, "(2/3) ". It cuts at the end of a line where there is one in the second half
// of a part, else at a blank, else between two characters; what it cuts at is left
// out.
func split(text string, limit int) [][]byte {
	// The number's own length is that of the longest, with as many parts as there may be.
	room := limit - len(number(99, 99))
	var cuts []string
	for len(text) > room {
		cut := text[:room]
		for !utf8.RuneStart(text[len(cut)]) {
			cut = cut[:len(cut)-1]
		}
		rest := text[len(cut):]
		if i := strings.LastIndexByte(cut, '\n'); i >= room/2 {
			cut, rest = cut[:i], text[i+1:]
		} else if i := strings.LastIndexByte(cut, ' '); i >= room/2 {
			cut, rest = cut[:i], text[i+1:]
		}
		cuts = append(cuts, cut)
		text = rest
	}
	if text != "" {
		cuts = append(cuts, text)
	}
	parts := make([][]byte, len(cuts))
	for i, cut := range cuts {
		parts[i] = []byte(number(i+1, len(cuts)) + cut)
	}
	return parts
}

func number(n, of int) string { return fmt.Sprintf("(%d/%d) ", n, of) }
