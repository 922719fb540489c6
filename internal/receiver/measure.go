// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"
)

// extent is how much there is in a value, with all that is in it.
type extent struct {
	values int // itself, and those in it
	bytes  int // of texts, names among them
	// json is how many bytes the texts are in JSON.
	json int
}

// What a value takes in a text, beside the bytes of texts: a number, or brackets.
const maxValueText = 32

// measure finds out how much is in values.
func (b *budget) measure(values ...any) (extent, error) {
	var e extent
	for _, v := range values {
		if err := b.add(&e, reflect.ValueOf(v)); err != nil {
			return e, err
		}
	}
	return e, nil
}

// add adds a value to an extent. Data has no cycles: it was JSON.
func (b *budget) add(e *extent, v reflect.Value) error {
	e.values++
	if err := b.spend(workValue); err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.String:
		return b.addText(e, v.String())
	case reflect.Interface, reflect.Pointer:
		return b.add(e, v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := b.add(e, v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		if err := b.spend(sorting(v.Len(), 0)); err != nil {
			return err
		}
		for i := v.MapRange(); i.Next(); {
			if err := b.add(e, i.Key()); err != nil {
				return err
			}
			if err := b.add(e, i.Value()); err != nil {
				return err
			}
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Time]() {
			e.bytes, e.json = e.bytes+maxTimeText, e.json+maxTimeText
			return nil
		}
		for _, field := range v.Fields() {
			e.bytes, e.json = e.bytes+maxValueText, e.json+maxValueText // its name, in JSON
			if err := b.add(e, field); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *budget) addText(e *extent, text string) error {
	if err := b.spend(len(text)); err != nil {
		return err
	}
	e.bytes += len(text)
	e.json += len(text)
	valid := utf8.ValidString(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c >= utf8.RuneSelf && !valid:
			e.json += 5 // \u001f, \ufffd
		case c == '"', c == '\\', c == 0xe2: // \u2028
			e.json += 3
		}
	}
	return nil
}

// plain is how many bytes %v makes of values, at the most.
func (b *budget) plain(values ...any) (int, error) {
	e, err := b.measure(values...)
	return e.bytes + e.values*maxValueText, err
}

// verb is one of a layout, as printf takes it.
type verb struct {
	letter rune
	// bytes is how many it makes of each byte of a text at the most, each how many of
	// each value beside.
	bytes, each int
	// precise tells that it says how many digits.
	precise bool
}

// verbs reads a layout. What would blow a value up beyond measure is an error.
func verbs(layout string) ([]verb, error) {
	var all []verb
	for rest := layout; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			return all, nil
		}
		directive := strings.TrimLeft(after, "+-# 0")
		flags := after[:len(after)-len(directive)]
		width, directive, err := digits(directive)
		if err != nil {
			return nil, err
		}
		v := verb{bytes: 1, each: maxValueText + width}
		if precision, dot := strings.CutPrefix(directive, "."); dot {
			if width, directive, err = digits(precision); err != nil {
				return nil, err
			}
			v.precise, v.each = true, v.each+width
		}
		letter, size := utf8.DecodeRuneInString(directive)
		v.letter = letter
		switch v.letter {
		case '*', '[':
			return nil, fmt.Errorf("printf: %c is not available", v.letter)
		case 'p':
			return nil, fmt.Errorf("printf: %%p is not available") // it differs each time
		case 's', 'v':
		case 'f', 'F':
			v.each += 320 // the digits of the greatest number
		default:
			v.bytes, v.each = 5, v.each+96 // hexadecimal, quotes, or what is wrong with it
		}
		if strings.ContainsAny(flags, "+#") {
			v.bytes, v.each = 5, v.each+160 // names of fields and types
		}
		if v.letter != '%' && size > 0 {
			all = append(all, v)
		}
		rest = directive[size:]
	}
}

// digits reads a width or a precision.
func digits(directive string) (n int, rest string, err error) {
	rest = strings.TrimLeft(directive, "0123456789")
	number := directive[:len(directive)-len(rest)]
	if len(number) > 3 {
		return 0, "", fmt.Errorf("printf: a width may have three digits at most")
	}
	for _, digit := range number {
		n = 10*n + int(digit-'0')
	}
	return n, rest, nil
}

// format is Sprintf, and takes numbers as the verb wants them: JSON does not tell 5
// from 5.0.
func format(b *budget, layout string, args ...any) (string, error) {
	if err := b.spend(len(layout) * workNode); err != nil {
		return "", err
	}
	all, err := verbs(layout)
	if err != nil {
		return "", err
	}
	most := 8*len(layout) + 2*maxValueText // %!d(MISSING)
	taken := make([]any, len(args))
	for i, arg := range args {
		v := verb{letter: 'v', bytes: 1, each: 2 * maxValueText} // %!(EXTRA type=value)
		if i < len(all) {
			v = all[i]
		}
		taken[i] = suited(arg, v.letter)
		e, err := b.measure(arg)
		if err != nil {
			return "", err
		}
		if v.precise && v.letter != 's' {
			err = b.spend(min(e.values, maxWork) * 4096) // many digits of a number are slow
		}
		if err != nil {
			return "", err
		}
		if e.values > maxMade/v.each || e.bytes > maxMade/v.bytes {
			return "", errBudget
		}
		most += e.values*v.each + e.bytes*v.bytes
	}
	return b.making(most, func() string { return fmt.Sprintf(layout, taken...) })
}

// suited makes a number what a verb takes.
func suited(arg any, letter rune) any {
	switch letter {
	case 'd', 'b', 'o', 'O', 'c', 'U':
		if f, ok := arg.(Float); ok && float64(f) == math.Trunc(float64(f)) && math.Abs(float64(f)) < 1<<63 {
			return int64(f)
		}
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if n, ok := numberOf(arg); ok {
			return n.float()
		}
	case 's', 'q':
		if _, ok := numberOf(arg); ok {
			return fmt.Sprint(arg)
		}
	}
	return arg
}
