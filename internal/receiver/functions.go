package receiver

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	sprig "github.com/go-task/slim-sprig/v3"
)

// fromLibrary are the functions of sprig that templates may use: those that depend
// on their arguments alone, and make little more than they are given. What builds
// lists and maps is left out: few steps would build what takes forever to print.
var fromLibrary = []string{
	"trunc", "trim", "upper", "lower", "title", "substr", "trimAll", "trimSuffix", "trimPrefix",
	"contains", "hasPrefix", "hasSuffix", "quote", "squote", "plural", "toString",
	"atoi", "int", "int64", "float64", "add", "add1", "sub", "div", "mod", "mul", "max", "min", "ceil", "floor", "round",
	"splitList", "sortAlpha",
	"default", "empty", "coalesce", "ternary",
	"toJson", "kindOf", "kindIs", "hasKey", "first", "last",
	"regexMatch", "regexFind",
	"b64dec", "sha256sum", "urlParse", "base",
}

// maxArguments of a function that takes any number: each may be the whole body.
const maxArguments = 16

// library returns all functions that templates may use.
func library() template.FuncMap {
	all := sprig.HermeticTxtFuncMap()
	functions := template.FuncMap{
		// As Alertmanager's templates name them.
		"toUpper": strings.ToUpper,
		"toLower": strings.ToLower,
		"since":   func(t time.Time) string { return time.Since(t).Round(time.Second).String() },
		"date":    formatTime,
		"abbrev":  abbreviate,
		"get":     lookUp,
		// For the built-in templates.
		"entry":    func(a Alert, common KV) entry { return entry{a, common} },
		"hasLabel": func(kv KV, name string) bool { _, ok := kv[name]; return ok },
		// With bounds that the library's own lack.
		"replace":         replace,
		"regexReplaceAll": regexReplaceAll,
		"join":            joinTexts,
		// What it is given may be the data: the fault says where it was called.
		"fail": func(string) (string, error) { return "", errors.New("the template says so") },
		// Those of text/template itself, so that they are bounded too.
		"print":    fmt.Sprint,
		"println":  fmt.Sprintln,
		"printf":   format,
		"html":     template.HTMLEscaper,
		"js":       template.JSEscaper,
		"urlquery": template.URLQueryEscaper,
	}
	for _, name := range fromLibrary {
		if f, ok := all[name]; ok {
			functions[name] = f
		}
	}
	return functions
}

// functions returns the functions, each of which counts against the budget; nil:
// for parsing alone.
func functions(b *budget) template.FuncMap {
	bounded := library()
	for name, f := range bounded {
		bounded[name] = bound(f, b)
	}
	bounded[stepFunction] = func() (string, error) { return "", b.step(0) }
	return bounded
}

// bound makes f fail once the budget is spent.
func bound(f any, b *budget) any {
	of := reflect.ValueOf(f)
	in := make([]reflect.Type, of.Type().NumIn())
	for i := range in {
		in[i] = of.Type().In(i)
	}
	out := []reflect.Type{of.Type().Out(0), reflect.TypeFor[error]()}
	return reflect.MakeFunc(reflect.FuncOf(in, out, of.Type().IsVariadic()), func(args []reflect.Value) (results []reflect.Value) {
		// The library panics where it does not like a value, and quotes it.
		defer func() {
			if recover() != nil {
				err := errors.New("it does not take this")
				results = []reflect.Value{reflect.Zero(out[0]), reflect.ValueOf(&err).Elem()}
			}
		}()
		if err := b.step(0); err != nil {
			return []reflect.Value{reflect.Zero(out[0]), reflect.ValueOf(&err).Elem()}
		}
		if of.Type().IsVariadic() {
			if args[len(args)-1].Len() > maxArguments {
				err := fmt.Errorf("more than %d arguments", maxArguments)
				return []reflect.Value{reflect.Zero(out[0]), reflect.ValueOf(&err).Elem()}
			}
			results = of.CallSlice(args)
		} else {
			results = of.Call(args)
		}
		var err error
		if len(results) == 2 && !results[1].IsNil() {
			err, _ = reflect.TypeAssert[error](results[1])
		}
		if err == nil {
			err = b.step(size(results[0]))
		}
		return []reflect.Value{results[0], reflect.ValueOf(&err).Elem()}
	}).Interface()
}

// size is about how many bytes a result takes.
func size(v reflect.Value) int {
	for v.Kind() == reflect.Interface && !v.IsNil() {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Slice, reflect.Map:
		return 16 * v.Len()
	}
	return 8
}

// format is Sprintf without widths that blow a value up.
func format(layout string, args ...any) (string, error) {
	digits := 0
	for _, c := range layout {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c == '*' || c == '[':
			return "", fmt.Errorf("printf: %c is not available", c)
		default:
			digits = 0
		}
		if digits > 3 {
			return "", errors.New("printf: a width may have three digits at most")
		}
	}
	return fmt.Sprintf(layout, args...), nil
}

// replace replaces all of a text that is old.
func replace(old, with, text string) (string, error) {
	if strings.Count(text, old)*len(with) > maxMade {
		return "", errBudget
	}
	return strings.ReplaceAll(text, old, with), nil
}

// regexReplaceAll replaces all that an expression matches; ${1} is its first group.
func regexReplaceAll(expression, text, with string) (string, error) {
	if (len(text)+1)*(len(with)+1) > maxMade {
		return "", errBudget
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return "", errors.New("regexReplaceAll: not a regular expression")
	}
	return re.ReplaceAllString(text, with), nil
}

// joinTexts joins the values of a list.
func joinTexts(separator string, list any) (string, error) {
	v := reflect.ValueOf(list)
	if v.Kind() != reflect.Slice {
		return "", errors.New("join: not a list")
	}
	if v.Len()*len(separator) > maxMade {
		return "", errBudget
	}
	texts := make([]string, v.Len())
	for i := range texts {
		texts[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(texts, separator), nil
}

// formatTime formats a time, or a text that is one in RFC 3339.
func formatTime(layout string, t any) (string, error) {
	switch t := t.(type) {
	case time.Time:
		return t.UTC().Format(layout), nil
	case string:
		parsed, err := time.Parse(time.RFC3339, t)
		if err != nil {
			return "", errors.New("date: not a time in RFC 3339")
		}
		return parsed.UTC().Format(layout), nil
	}
	return "", errors.New("date: not a time")
}

// abbreviate cuts a text to so many characters.
func abbreviate(length int, text string) string {
	if length < 1 || utf8.RuneCountInString(text) <= length {
		return text
	}
	return string([]rune(text)[:length-1]) + "…"
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
