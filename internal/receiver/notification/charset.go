// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"
)

// byteOrderMarks begin bodies in the encodings of these names.
var byteOrderMarks = []struct{ encoding, mark string }{
	{"utf-8", "\xEF\xBB\xBF"}, {"utf-16le", "\xFF\xFE"}, {"utf-16be", "\xFE\xFF"},
}

// maxCharset is the longest name of an encoding, in bytes, that an error repeats.
const maxCharset = 40

// ToUTF8 returns a body in UTF-8, without a byte order mark. Its encoding is what its mark or its content type says.
func ToUTF8(body []byte, contentType string) ([]byte, error) {
	_, parameters, _ := mime.ParseMediaType(contentType) // a malformed one is ignored
	charset := parameters["charset"]
	for _, b := range byteOrderMarks {
		if rest, ok := bytes.CutPrefix(body, []byte(b.mark)); ok {
			body, charset = rest, b.encoding
			break
		}
	}
	if charset == "" {
		charset = "utf-8"
	}
	encoding, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("the body is in charset %.*q, which is unknown: send UTF-8", maxCharset, charset)
	}
	switch name, _ := htmlindex.Name(encoding); {
	case name == "utf-8" && utf8.Valid(body):
		return body, nil
	case name == "utf-8":
		return nil, errors.New("the body is not UTF-8: send UTF-8, or name its encoding, for example " +
			"Content-Type: application/json; charset=gbk")
	case name == "windows-1252" && utf8.Valid(body):
		return body, nil // libraries set it by default, regardless of the text's encoding
	case name == "replacement":
		return nil, fmt.Errorf("the body is in charset %.*q, which is not supported: send UTF-8", maxCharset, charset)
	default:
		text, err := encoding.NewDecoder().Bytes(body)
		if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
			return nil, fmt.Errorf("the body is not in charset %s, which its Content-Type names", name)
		}
		return text, nil
	}
}
