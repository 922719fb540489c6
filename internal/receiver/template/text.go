// SPDX-License-Identifier: Apache-2.0

package template

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// maxLayout is the longest layout of printf and of times, in bytes. maxTimeText is the longest text of a time.
const (
	maxLayout   = 256
	maxTimeText = 3 * maxLayout
)

// verbs finds the verbs of a layout, with width and precision.
var verbs = regexp.MustCompile(`(?s)%[-+# 0]*([0-9]*)(?:\.([0-9]*))?(.?)`)

// format is Sprintf, with widths and precisions of two digits. It converts numbers to the type of the verb: JSON does
// not distinguish 5 and 5.0.
func format(b *budget, layout string, args ...any) (string, error) {
	if len(layout) > maxLayout {
		return "", fmt.Errorf("printf: a layout of more than %d bytes", maxLayout)
	}
	i := 0
	for _, verb := range verbs.FindAllStringSubmatch(layout, -1) {
		width, precision, letter := verb[1], verb[2], verb[3]
		switch {
		case letter == "*", letter == "[", letter == "p": // the address %p differs each time
			return "", fmt.Errorf("printf: %%%s is not available", letter)
		case len(width) > 2, len(precision) > 2:
			return "", errors.New("printf: a width of more than two digits")
		case letter == "%" || i >= len(args):
			continue
		}
		// Each value in a list gets the width. The digits of a large number take some microseconds.
		n, err := size(args[i], maxValue)
		if err == nil && (width+precision != "" || strings.Contains("eEfFgG", letter)) {
			if _, text := args[i].(string); !text {
				err = b.spend(n / valueWork * 512)
			}
		}
		if err != nil {
			return "", err
		}
		args[i] = suited(args[i], letter)
		i++
	}
	return fmt.Sprintf(layout, args...), nil
}

// find counts the search for a text in another one: 64 bytes are compared at once, for each byte at the worst.
func (b *budget) find(what, in string) error { return b.spend(len(in) * (len(what) / 64)) }

func contains(b *budget, what, in string) (bool, error) {
	return strings.Contains(in, what), b.find(what, in)
}

// replace replaces all of a text that is old.
func replace(b *budget, old, with, text string) (string, error) {
	if err := b.find(old, text); err != nil {
		return "", err
	}
	if strings.Count(text, old)*len(with) > maxValue {
		return "", errSize
	}
	return strings.ReplaceAll(text, old, with), nil
}

// splitList splits a text.
func splitList(b *budget, separator, text string) ([]string, error) {
	if err := b.find(separator, text); err != nil {
		return nil, err
	}
	if strings.Count(text, separator)*valueWork > maxValue {
		return nil, errSize
	}
	return strings.Split(text, separator), nil
}

// trimAll removes characters from both ends of a text.
func trimAll(b *budget, characters, text string) (string, error) {
	if err := b.spend(len(text) * len(characters) / 8); err != nil {
		return "", err
	}
	return strings.Trim(text, characters), nil
}

// join joins the values of a list.
func join(separator string, list any) (string, error) {
	v := reflect.ValueOf(list)
	if isNil(v) {
		return "", nil
	}
	if v.Kind() != reflect.Slice {
		return "", errors.New("join: not a list")
	}
	if len(separator)*v.Len() > maxValue {
		return "", errSize
	}
	texts := make([]string, v.Len())
	for i := range texts {
		texts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(texts, separator), nil
}

// toJSON returns a value in JSON, for people: characters of HTML are left as they are.
func toJSON(v any) (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(v) != nil {
		return "", errors.New("toJson: there is no such value in JSON")
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// Abbreviate shortens a text to at most the given characters. Below 1, it does not.
func Abbreviate(length int, text string) string {
	if length < 1 {
		return text
	}
	count, end := 0, 0
	for i := range text {
		if count++; count == length {
			end = i
		} else if count > length {
			return text[:end] + "…"
		}
	}
	return text
}

// get returns a value inside of any JSON: get "involvedObject" "name" . If it is missing, it is an empty text.
func get(path ...any) (any, error) {
	if len(path) == 0 {
		return nil, errors.New("get: nothing to look into")
	}
	v := path[len(path)-1]
	for _, key := range path[:len(path)-1] {
		name, ok := key.(string)
		if !ok {
			return nil, errors.New("get: a name is not a text")
		}
		object, ok := v.(map[string]any)
		if !ok {
			return "", nil
		}
		v = object[name]
	}
	if isNil(reflect.ValueOf(v)) {
		return "", nil
	}
	return v, nil
}

func list(b *budget, values ...any) ([]any, error) {
	return append([]any{}, values...), b.spend(valueWork * len(values))
}

// appendTo returns a list with more values. It is a copy, so that a list that is held elsewhere does not change.
func appendTo(b *budget, list []any, values ...any) ([]any, error) {
	return slices.Concat(list, values), b.spend(valueWork * (len(list) + len(values)))
}

func dict(b *budget, values ...any) (map[string]any, error) {
	if err := b.spend(4 * valueWork * len(values)); err != nil {
		return nil, err
	}
	if len(values)%2 != 0 {
		return nil, errors.New("dict: a name without a value")
	}
	all := make(map[string]any, len(values)/2)
	for pair := range slices.Chunk(values, 2) {
		name, err := textOf(pair[0])
		if err != nil {
			return nil, errors.New("dict: a name is not a text")
		}
		all[name] = pair[1]
	}
	return all, nil
}

func title(text string) string { return cases.Title(language.AmericanEnglish).String(text) }

func unchanged(text string) string { return text }

func urlUnescape(text string) (string, error) {
	unescaped, err := url.QueryUnescape(text)
	if err != nil {
		return "", errors.New("urlUnescape: not an escaped text") // err quotes it
	}
	return unescaped, nil
}

func encodeBase64(text string) string { return base64.URLEncoding.EncodeToString([]byte(text)) }

func decodeBase64(text string) (string, error) {
	decoded, err := base64.URLEncoding.DecodeString(text)
	return string(decoded), err
}

// length is the number of bytes of a text, or of values in a list or map. It is 0 if the value is missing.
func length(v any) (int, error) {
	of := reflect.ValueOf(v)
	switch of.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return of.Len(), nil
	case reflect.Invalid:
		return 0, nil
	}
	return 0, errors.New("len: neither a text nor a list nor a map")
}
