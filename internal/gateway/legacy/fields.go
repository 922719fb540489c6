package legacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/httpserver"
)

// fields are a request's JSON object. Names count exactly, unknown ones are ignored.
type fields map[string]json.RawMessage

// wrong is what is the matter with a request, in one line that holds no value of it.
type wrong struct {
	code   Code
	status int
	detail string
}

func badParameter(format string, args ...any) *wrong {
	return &wrong{CodeBadParameter, http.StatusOK, fmt.Sprintf(format, args...)}
}

// readFields reads a request's body, whatever its Content-Type says: callers never
// had to set it.
func readFields(r *http.Request) (fields, *wrong) {
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &wrong{CodeBadParameter, http.StatusRequestEntityTooLarge,
			fmt.Sprintf("the body is longer than %d bytes", httpserver.MaxBody)}
	case err != nil:
		return nil, &wrong{CodeBadParameter, http.StatusBadRequest, "the body did not come in whole, or not in time"}
	case len(bytes.TrimSpace(body)) == 0:
		return nil, badParameter("the body is empty: send a JSON object")
	case !utf8.Valid(body):
		return nil, badParameter("the body is not UTF-8")
	}
	var f fields
	var syntax *json.SyntaxError
	err = json.Unmarshal(body, &f)
	switch {
	case errors.As(err, &syntax):
		return nil, badParameter("the body is not JSON, at byte %d", syntax.Offset)
	case err != nil || f == nil:
		return nil, badParameter("the body must be a JSON object")
	}
	return f, nil
}

func (f fields) has(name string) bool {
	raw, ok := f[name]
	return ok && string(raw) != "null"
}

// id returns a user's or group's id, written as a number or as a string.
func (f fields) id(name string) (int64, *wrong) {
	if !f.has(name) {
		return 0, badParameter("%s is missing", name)
	}
	id, ok := idOf(f[name])
	if !ok {
		return 0, badParameter("%s must be a number from 1 to %d, or a string of one", name, math.MaxInt32)
	}
	return id, nil
}

// ids returns an array of ids, each once, in their order.
func (f fields) ids(name string, most int) ([]int64, *wrong) {
	if !f.has(name) {
		return nil, badParameter("%s is missing", name)
	}
	var raw []json.RawMessage
	if json.Unmarshal(f[name], &raw) != nil {
		return nil, badParameter("%s must be an array", name)
	}
	seen := map[int64]bool{}
	ids := make([]int64, 0, min(len(raw), most))
	for i, one := range raw {
		id, ok := idOf(one)
		switch {
		case !ok:
			return nil, badParameter("%s[%d] must be a number from 1 to %d, or a string of one", name, i, math.MaxInt32)
		case seen[id]:
			continue
		case len(ids) == most:
			return nil, badParameter("%s must not hold more than %d", name, most)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, badParameter("%s is empty", name)
	}
	return ids, nil
}

// idOf reads an id; whatever is neither a whole number nor a string of one is none.
func idOf(raw json.RawMessage) (int64, bool) {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal(raw, &text) != nil {
			return 0, false
		}
		text = strings.TrimSpace(text)
	}
	id, err := strconv.ParseUint(text, 10, 31)
	return int64(id), err == nil && id > 0
}

// small returns a small number, written as a number or as a string; otherwise is its
// value where it is missing.
func (f fields) small(name string, otherwise int64) (int64, *wrong) {
	if !f.has(name) {
		return otherwise, nil
	}
	n, ok := idOf(f[name])
	if !ok {
		return 0, badParameter("%s must be a positive number, or a string of one", name)
	}
	return n, nil
}

// text returns a string; it may be empty.
func (f fields) text(name string) (string, *wrong) {
	var s string
	switch {
	case !f.has(name):
		return "", badParameter("%s is missing", name)
	case json.Unmarshal(f[name], &s) != nil:
		return "", badParameter("%s must be a string", name)
	case halved(f[name], s):
		return "", badParameter("%s holds one half of a character (a surrogate without its other one)", name)
	case strings.ContainsRune(s, 0):
		return "", badParameter("%s holds a NUL, at which clients would cut it", name)
	}
	return s, nil
}

// halved reports whether a string was not what it says before it was decoded: what
// cannot be encoded becomes U+FFFD.
func halved(raw json.RawMessage, s string) bool {
	const replacement = "\uFFFD"
	meant := bytes.Count(raw, []byte(replacement)) + bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
	return strings.Count(s, replacement) > meant
}

// name returns a string that TeamTalk keeps as the name of something.
func (f fields) name(field string) (string, *wrong) {
	s, bad := f.text(field)
	if bad == nil && utf8.RuneCountInString(s) > maxName {
		return "", badParameter("%s must be at most %d characters", field, maxName)
	}
	return s, bad
}

// msg returns what is to be sent: a string as it is, an object as compact JSON.
func (f fields) msg() (string, *wrong) {
	if !f.has("msg") {
		return "", badParameter("msg is missing")
	}
	switch f["msg"][0] {
	case '"':
		text, bad := f.text("msg")
		if bad == nil && text == "" {
			bad = badParameter("msg is empty: TeamTalk would not answer")
		}
		return text, bad
	case '{':
		var compact bytes.Buffer
		if json.Compact(&compact, f["msg"]) != nil {
			return "", badParameter("msg is not JSON")
		}
		return compact.String(), nil
	}
	return "", badParameter("msg must be a string or an object")
}

// appKey returns the app_key: not every caller has one, and a number counts as one.
func (f fields) appKey() string {
	var s string
	if json.Unmarshal(f["app_key"], &s) == nil {
		return s
	}
	return strings.TrimSpace(string(f["app_key"]))
}
