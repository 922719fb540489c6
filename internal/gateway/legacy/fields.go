// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/cipher"
)

// maxText is the longest text, in bytes, that any server can send.
const maxText = cipher.MaxText

// maxIDJSON is the longest id in JSON, as a string with spaces around it.
const maxIDJSON = 256

// maxName is how many characters TeamTalk's tables hold of a group's name or avatar.
const maxName = 256

// fields decode the JSON object of a request. Names are case-sensitive, unknown ones are ignored.
type fields struct {
	raw map[string]json.RawMessage // parts of the body
	// bad is the first error. After it, decoded values are not to be used.
	bad *response
}

// readObject reads the body. It ignores the Content-Type, which callers of http_msg_server need not set.
func readObject(r *http.Request) (*object, *response) {
	body, err := httpserver.ReadBody(r)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	busy, isBusy := errors.AsType[*httpserver.BusyError](err)
	switch {
	case tooLarge:
		bad := badParameter("the body is longer than %d bytes", httpserver.MaxBody)
		bad.status = http.StatusRequestEntityTooLarge
		return nil, bad
	case isBusy:
		return nil, &response{Code: CodeServerFault, Detail: busy.Error(), status: busy.Status}
	case err != nil:
		bad := badParameter("the body was not received completely and in time")
		bad.status = http.StatusBadRequest
		return nil, bad
	}
	return parseObject(body)
}

// parseObject finds the fields of a body.
func parseObject(body []byte) (*object, *response) {
	body = bytes.TrimPrefix(body, []byte("\xEF\xBB\xBF")) // a byte order mark
	switch trimmed := bytes.TrimSpace(body); {
	case len(trimmed) == 0:
		return nil, badParameter("the body is empty: send a JSON object")
	case !utf8.Valid(body):
		return nil, badParameter("the body is not UTF-8: convert it, for example from GBK, before it is sent")
	}
	if syntax := checkSyntax(body); syntax != nil {
		strict, err := strictJSON(body)
		switch {
		case err != nil:
			return nil, badParameter("the body has %s", err)
		case checkSyntax(strict) != nil:
			return nil, badParameter("the body is not JSON, at byte %d", syntax.Offset)
		}
		body = strict
	}
	if bytes.TrimSpace(body)[0] != '{' {
		return nil, badParameter("the body must be a JSON object")
	}
	return scanObject(body), nil
}

// fail sets the first error and returns it, or one that is ignored.
func (f *fields) fail(format string, args ...any) *response {
	bad := badParameter(format, args...)
	if f.bad == nil {
		f.bad = bad
	}
	return bad
}

func (f *fields) has(name string) bool {
	raw, ok := f.raw[name]
	return ok && string(raw) != "null"
}

// require reports whether the field exists. It is an error if not.
func (f *fields) require(name string) bool {
	if !f.has(name) {
		f.fail("%s is missing", name)
		return false
	}
	return true
}

// id returns the id of a user or group, which is a number or a string of one.
func (f *fields) id(name string) uint32 {
	id, ok := parseID(f.raw[name])
	if f.require(name) && !ok {
		f.fail("%s must be a number from 1 to %d, or a string of one", name, math.MaxInt32)
	}
	return id
}

// ids returns the distinct ids of an array, in their order.
func (f *fields) ids(name string, limit int) []uint32 {
	if !f.require(name) {
		return nil
	}
	list := json.NewDecoder(bytes.NewReader(f.raw[name]))
	if start, err := list.Token(); err != nil || start != json.Delim('[') {
		f.fail("%s must be an array", name)
		return nil
	}
	seen := map[uint32]bool{}
	var ids []uint32
	for i := 0; list.More() && len(ids) <= limit; i++ {
		var one json.RawMessage
		err := list.Decode(&one)
		id, ok := parseID(one)
		if err != nil || !ok {
			f.fail("%s[%d] must be a number from 1 to %d, or a string of one", name, i, math.MaxInt32)
			return nil
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	switch n := len(ids); {
	case n == 0:
		f.fail("%s is empty", name)
	case n > limit:
		f.fail("%s must not hold more than %d", name, limit)
	}
	return ids
}

// parseID reads a whole number from 1, or a string of one.
func parseID(raw json.RawMessage) (uint32, bool) {
	if len(raw) > maxIDJSON {
		return 0, false
	}
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal(raw, &text) != nil {
			return 0, false
		}
		text = strings.TrimSpace(text)
	}
	id, err := strconv.ParseUint(text, 10, 31)
	if err != nil && !strings.HasPrefix(string(raw), `"`) {
		// Languages without integers post 5.0.
		f, notNumber := strconv.ParseFloat(text, 64)
		if notNumber != nil || f != math.Trunc(f) || f < 1 || f > math.MaxInt32 {
			return 0, false
		}
		return uint32(f), true
	}
	return uint32(id), err == nil && id > 0
}

// number returns a positive number. If the field is missing, it is 1.
func (f *fields) number(name string) uint32 {
	n, ok := parseID(f.raw[name])
	switch {
	case !f.has(name):
		return 1
	case !ok:
		f.fail("%s must be a positive number, or a string of one", name)
	}
	return n
}

// isTwo reports whether a field is 2. It must be 1, which is the default, or 2. meaning describes both.
func (f *fields) isTwo(name, meaning string) bool {
	n := f.number(name)
	if n > 2 {
		f.fail("%s must be %s", name, meaning)
	}
	return n == 2
}

// text returns a string, which may be empty.
func (f *fields) text(name string) string {
	if !f.require(name) {
		return ""
	}
	var s string
	switch {
	case json.Unmarshal(f.raw[name], &s) != nil:
		f.fail("%s must be a string", name)
	case hasLoneSurrogate(f.raw[name], s):
		f.fail("%s has an unpaired surrogate", name)
	case strings.ContainsRune(s, 0):
		f.fail("%s has a NUL: clients truncate it there", name)
	}
	return s
}

// hasLoneSurrogate reports whether decoding raw to s replaced something by U+FFFD.
func hasLoneSurrogate(raw json.RawMessage, s string) bool {
	const replacement = "\uFFFD"
	meant := bytes.Count(raw, []byte(replacement)) + bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
	return strings.Count(s, replacement) > meant
}

// name returns the name or avatar of a group.
func (f *fields) name(field string) string {
	s := f.text(field)
	if utf8.RuneCountInString(s) > maxName {
		f.fail("%s must be at most %d characters", field, maxName)
	}
	return s
}

// msg returns the text to send: a string, a number or boolean as it is written, or an object as compact JSON.
func (f *fields) msg() string {
	if !f.require("msg") {
		return ""
	}
	raw := f.raw["msg"]
	var text string
	switch raw[0] {
	case '[':
		f.fail("msg must be a string or an object, not a list")
		return ""
	case '"':
		text = f.text("msg")
	case '{':
		var compact bytes.Buffer
		_ = json.Compact(&compact, raw) // it is valid JSON: the body was checked
		text = compact.String()
	default:
		text = string(raw) // a number, true or false
	}
	switch {
	case len(text) > maxText:
		f.fail("the text has %d bytes, at most %d can be sent: shorten it", len(text), maxText)
	case text == "":
		f.fail("msg is empty: TeamTalk would not answer")
	}
	return text
}
