// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxGrowth is how much longer, as a factor, a body may become in strictJSON.
const maxGrowth = 2

var errTooManyEscapes = errors.New("too many control characters in texts")

// strictJSON rewrites what TeamTalk's jsoncpp accepts beyond JSON, in its default mode: control characters in texts,
// comments, leading zeros, and after the value semicolons and the NUL of C's strings. Shell scripts post texts with raw
// newlines. Other errors of syntax are left as they are.
func strictJSON(body []byte) ([]byte, error) {
	out := make([]byte, 0, len(body)+64)
	depth, ended := 0, false
	for i := 0; i < len(body); {
		if len(out) > maxGrowth*len(body)+64 {
			return nil, errTooManyEscapes
		}
		switch c := body[i]; {
		case c == '"':
			i = escapeText(&out, body, i)
			continue
		case c == '/':
			if end := endOfComment(body, i); end > i {
				out, i = append(out, ' '), end
				continue
			}
		case ended && (c == ';' || c == 0):
			out, i = append(out, ' '), i+1
			continue
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
			ended = depth == 0
		case c == '0' && startsNumber(out):
			for i+1 < len(body) && body[i] == '0' && body[i+1] >= '0' && body[i+1] <= '9' {
				i++
			}
		}
		out, i = append(out, body[i]), i+1
	}
	return out, nil
}

// startsNumber reports whether a digit that follows begins a number.
func startsNumber(before []byte) bool {
	before = bytes.TrimRight(before, "-")
	if len(before) == 0 {
		return true
	}
	switch c := before[len(before)-1]; c {
	case ',', ':', '[', ' ', '\t', '\r', '\n':
		return true
	}
	return false
}

// escapeText adds the text that begins at an index, with its control characters escaped. It returns where it ends.
func escapeText(out *[]byte, body []byte, begin int) (end int) {
	end = endOfString(body, begin)
	escaped := false
	for _, c := range body[begin:end] {
		switch {
		case escaped: // a control character after a backslash remains an error
			*out = append(*out, c)
			escaped = false
			continue
		case c == '\n':
			*out = append(*out, `\n`...)
		case c == '\r':
			*out = append(*out, `\r`...)
		case c == '\t':
			*out = append(*out, `\t`...)
		case c < ' ':
			*out = fmt.Appendf(*out, `\u%04x`, c)
		default:
			*out = append(*out, c)
			escaped = c == '\\'
		}
	}
	return end
}

// endOfComment returns where a comment ends that begins at an index; the index if there is none.
func endOfComment(body []byte, begin int) int {
	rest := body[begin:]
	switch {
	case bytes.HasPrefix(rest, []byte("/*")):
		if end := bytes.Index(rest[2:], []byte("*/")); end >= 0 {
			return begin + 2 + end + 2
		}
	case bytes.HasPrefix(rest, []byte("//")):
		if end := bytes.IndexAny(rest, "\r\n"); end >= 0 {
			return begin + end
		}
		return len(body)
	}
	return begin
}

// checkSyntax returns the error of a body that is not JSON, or nil. It decodes no values.
func checkSyntax(body []byte) *json.SyntaxError {
	syntax, _ := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &struct{}{}))
	return syntax
}
