// SPDX-License-Identifier: Apache-2.0

package legacy

import (
	"bytes"
	"encoding/json"
)

const (
	// maxFields limits the fields of a body. Callers send at most ten that have a meaning.
	maxFields = 100
	// maxDepth limits how deep objects and arrays are nested. The body itself counts.
	maxDepth = 100
	// maxFieldName is the longest name in JSON that is looked at. No known one is longer, even if it is all escapes.
	maxFieldName = 128
	// maxAppKey is the longest app_key in JSON that is looked up.
	maxAppKey = 16 << 10

	fieldAppKey = "app_key"
)

// object is a JSON object whose fields are found, but not decoded. What a caller sends costs little more memory than
// the body, before it is known who calls.
type object struct {
	// raw are the fields, as parts of the body. The last one of a name counts. Of those beyond maxFields there is the
	// app_key only.
	raw    map[string]json.RawMessage
	fields int
	depth  int
}

// scanObject finds the fields of an object, whose syntax must be valid.
func scanObject(body []byte) *object {
	o := &object{raw: map[string]json.RawMessage{}}
	depth, name, value := 0, []byte(nil), -1 // value is where the value of the field begins
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '"':
			end := endOfString(body, i)
			if depth == 1 && value < 0 {
				name = body[i:end]
			}
			i = end - 1
		case ':':
			if depth == 1 {
				value = i + 1
			}
		case '{', '[':
			depth++
			o.depth = max(o.depth, depth)
		case '}', ']', ',':
			if depth == 1 && value >= 0 {
				o.add(name, body[value:i])
				value = -1
			}
			if body[i] != ',' {
				depth--
			}
		}
	}
	return o
}

// endOfString returns the index after a string that begins at an index.
func endOfString(body []byte, begin int) int {
	for i := begin + 1; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(body) // it does not end: the syntax is not valid
}

// add adds a field.
func (o *object) add(rawName, value []byte) {
	o.fields++
	var name string
	switch {
	case o.fields > maxFields && string(rawName) != `"`+fieldAppKey+`"`, len(rawName) > maxFieldName:
		return
	case json.Unmarshal(rawName, &name) == nil:
		o.raw[name] = bytes.TrimSpace(value)
	}
}

// appKey returns the app_key, which may be missing or a number. One that is too long to be any is left out.
func (o *object) appKey() string {
	var s string
	switch raw := o.raw[fieldAppKey]; {
	case len(raw) > maxAppKey:
		return ""
	case json.Unmarshal(raw, &s) != nil:
		return string(raw)
	}
	return s
}

// check returns why the object is not decoded, or nil.
func (o *object) check() *response {
	switch {
	case o.fields > maxFields:
		return badParameter("the body has more than %d fields", maxFields)
	case o.depth > maxDepth:
		return badParameter("objects and arrays are nested more than %d deep", maxDepth)
	}
	return nil
}
