// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// shown is Sprint.
func shown(b *budget, values ...any) (string, error) {
	if len(values) == 1 {
		if text, ok := values[0].(string); ok {
			return text, nil
		}
	}
	most, err := b.plain(values...)
	if err != nil {
		return "", err
	}
	return b.making(most, func() string { return fmt.Sprint(values...) })
}

// shownInLine is Sprintln.
func shownInLine(b *budget, values ...any) (string, error) {
	most, err := b.plain(values...)
	if err != nil {
		return "", err
	}
	return b.making(most+1, func() string { return fmt.Sprintln(values...) })
}

// escaped makes a function of one that escapes a text, each of whose bytes becomes six
// at the most.
func escaped(escape func(...any) string) func(*budget, ...any) (string, error) {
	return func(b *budget, values ...any) (string, error) {
		most, err := b.plain(values...)
		if err != nil {
			return "", err
		}
		return b.making(6*most, func() string { return escape(values...) })
	}
}

// quote puts values in double quotes, as Go writes texts.
func quote(b *budget, values ...any) (string, error) {
	return quoted(b, values, 4, strconv.Quote)
}

// squote puts values in single quotes.
func squote(b *budget, values ...any) (string, error) {
	return quoted(b, values, 1, func(text string) string { return "'" + text + "'" })
}

func quoted(b *budget, values []any, grows int, quote func(string) string) (string, error) {
	var all []string
	for _, v := range values {
		if v == nil {
			continue
		}
		text, err := shown(b, v)
		if err != nil {
			return "", err
		}
		if text, err = b.making(grows*len(text)+2, func() string { return quote(text) }); err != nil {
			return "", err
		}
		all = append(all, text)
	}
	return joined(b, all, " ")
}

func joined(b *budget, texts []string, separator string) (string, error) {
	most := len(texts) * len(separator)
	for _, text := range texts {
		most += len(text)
	}
	return b.making(most, func() string { return strings.Join(texts, separator) })
}

// textsOf shows each value of a list.
func textsOf(b *budget, list reflect.Value) ([]string, error) {
	if err := b.hold(16 * list.Len()); err != nil {
		return nil, err
	}
	texts := make([]string, 0, list.Len())
	for i := range list.Len() {
		if err := b.spend(workValue); err != nil {
			return nil, err
		}
		text, err := shown(b, list.Index(i).Interface())
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// joinTexts joins the values of a list.
func joinTexts(b *budget, separator string, list any) (string, error) {
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Slice {
		return "", errors.New("join: not a list")
	}
	if v.Len() > 0 && len(separator) > maxMade/v.Len() {
		return "", errBudget
	}
	texts, err := textsOf(b, v)
	if err != nil {
		return "", err
	}
	return joined(b, texts, separator)
}

// sortTexts sorts the values of a list, as texts.
func sortTexts(b *budget, list any) ([]string, error) {
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Slice {
		text, err := shown(b, list)
		return []string{text}, err
	}
	texts, err := textsOf(b, v)
	if err != nil {
		return nil, err
	}
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	if err := b.spend(2 * sorting(len(texts), size)); err != nil {
		return nil, err
	}
	slices.Sort(texts)
	return texts, nil
}

// seeking is what it takes to look for a text in another one.
func seeking(what, in string) int { return len(in) * (2 + len(what)/64) }

// contains tells whether a text is in another one.
func contains(b *budget, what, in string) (bool, error) {
	if err := b.spend(seeking(what, in)); err != nil {
		return false, err
	}
	return strings.Contains(in, what), nil
}

// occurrences counts a text in another one.
func occurrences(b *budget, what, in string) (int, error) {
	if err := b.spend(2 * seeking(what, in)); err != nil { // once more to do it
		return 0, err
	}
	return strings.Count(in, what), nil
}

// replace replaces all of a text that is old.
func replace(b *budget, old, with, text string) (string, error) {
	count, err := occurrences(b, old, text)
	if err != nil {
		return "", err
	}
	if count > 0 && len(with) > maxMade/count {
		return "", errBudget
	}
	return b.making(len(text)+count*len(with), func() string { return strings.ReplaceAll(text, old, with) })
}

// splitList splits a text.
func splitList(b *budget, separator, text string) ([]string, error) {
	count, err := occurrences(b, separator, text)
	if err != nil {
		return nil, err
	}
	if err := b.hold(16 * (count + 1)); err != nil {
		return nil, err
	}
	return strings.Split(text, separator), nil
}

// trimAll takes characters off both ends of a text.
func trimAll(b *budget, characters, text string) (string, error) {
	if err := b.spend(len(characters) + len(text)*(2+len(characters)/8)); err != nil {
		return "", err
	}
	return strings.Trim(text, characters), nil
}

// toJSON shows a value in JSON, for people: characters of HTML are what they are.
func toJSON(b *budget, v any) (string, error) {
	e, err := b.measure(v)
	if err != nil {
		return "", err
	}
	return b.making(e.json+e.values*maxValueText, func() string {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		if encoder.Encode(v) != nil {
			return "" // as the library's: there is no such value in JSON
		}
		return strings.TrimSuffix(out.String(), "\n")
	})
}

// abbreviate cuts a text to so many characters.
func abbreviate(length int, text string) string {
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

// abbreviated is abbreviate for templates.
func abbreviated(b *budget, length int, text string) (string, error) {
	if err := b.spend(len(text)); err != nil {
		return "", err
	}
	return b.making(len(text)+len("…"), func() string { return abbreviate(length, text) })
}

// lookUp finds what is inside of any JSON: get "involvedObject" "name" . Where
// there is nothing it is an empty text.
func lookUp(path ...any) (any, error) {
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
	if v == nil {
		return "", nil
	}
	return v, nil
}

// at returns what is in a list, a map or a text.
func at(b *budget, v any, keys ...any) (any, error) {
	for _, key := range keys {
		in := reflect.ValueOf(v)
		switch in.Kind() {
		case reflect.Map:
			name, ok := key.(string)
			if !ok {
				return nil, errors.New("index: a name is not a text")
			}
			if err := b.spend(len(name)); err != nil {
				return nil, err
			}
			value := in.MapIndex(reflect.ValueOf(name))
			if !value.IsValid() {
				value = reflect.Zero(in.Type().Elem())
			}
			v = value.Interface()
		case reflect.Slice, reflect.String:
			i, err := wholeOf(key)
			if err != nil {
				return nil, fmt.Errorf("index: %w", err)
			}
			if i < 0 || i >= in.Len() {
				return nil, errors.New("index: it has no such place")
			}
			v = in.Index(i).Interface()
		default:
			return nil, errors.New("index: neither a list nor a map nor a text")
		}
	}
	return v, nil
}

// sliced returns a part of a list or a text: from, or from and to.
func sliced(_ *budget, v any, bounds ...any) (any, error) {
	of := reflect.ValueOf(v)
	if of.Kind() != reflect.Slice && of.Kind() != reflect.String {
		return nil, errors.New("slice: neither a list nor a text")
	}
	ends := []int{0, of.Len()}
	if len(bounds) > len(ends) {
		return nil, errors.New("slice: more than two places")
	}
	for i, bound := range bounds {
		n, err := wholeOf(bound)
		if err != nil {
			return nil, fmt.Errorf("slice: %w", err)
		}
		ends[i] = n
	}
	if ends[0] < 0 || ends[0] > ends[1] || ends[1] > of.Len() {
		return nil, errors.New("slice: it has no such places")
	}
	return of.Slice(ends[0], ends[1]).Interface(), nil
}

// length is how many bytes a text has, or values a list or map.
func length(_ *budget, v any) (int, error) {
	of := reflect.ValueOf(v)
	switch of.Kind() {
	case reflect.String, reflect.Slice, reflect.Map:
		return of.Len(), nil
	}
	return 0, errors.New("len: neither a text nor a list nor a map")
}
