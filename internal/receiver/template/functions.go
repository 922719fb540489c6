// SPDX-License-Identifier: Apache-2.0

package template

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"text/template"

	sprig "github.com/go-task/slim-sprig/v3"
)

// Functions are counted in one of two ways, see function.within. Those of reading read their arguments: the size of
// these and of the result is counted. Those of picking look at no more than one value of a list or map, and pass it
// on: nothing is counted but the call. Either may take a *budget first, to count what they do beside, or to check
// what they would make.
var (
	reading = template.FuncMap{
		"print": fmt.Sprint, "println": fmt.Sprintln, "printf": format,
		"html": template.HTMLEscaper, "js": template.JSEscaper, "urlquery": template.URLQueryEscaper,
		"toJson": toJSON, "abbrev": Abbreviate, "contains": contains, "replace": replace, "trimAll": trimAll,
		"splitList": splitList, "join": join,
		"regexMatch": regexMatch, "regexFind": regexFind, "regexReplaceAll": regexReplaceAll,
		"date": date, "dateInZone": dateInZone, "tz": inZone, "now": now, "since": since,
		"toDate": toDate, "mustToDate": mustToDate, "addDuration": addDuration, "humanizeDuration": humanizeDuration,
		// The rest of Alertmanager's.
		"trimSpace": strings.TrimSpace, "title": title, "match": regexMatch, "reReplaceAll": reReplaceAll,
		"safeHtml": unchanged, "safeUrl": unchanged, "urlUnescape": urlUnescape,
		"base64encode": encodeBase64, "base64decode": decodeBase64,
		"stringSlice": func(texts ...string) []string { return texts },
		// The argument may be the data: the error says where it was called.
		"fail": func(string) (string, error) { return "", errors.New("the template says so") },
	}
	// fromSprig are those of the library that make six bytes of each that they read at the most, as all of reading do.
	fromSprig = []string{
		"trunc", "substr", "trim", "trimSuffix", "trimPrefix", "hasPrefix", "hasSuffix", "plural", "upper", "lower",
		"toString", "quote", "squote", "sortAlpha", "b64dec", "sha256sum", "urlParse", "base",
		"atoi", "int", "int64", "float64", "add", "add1", "sub", "div", "mod", "mul", "max", "min", "ceil", "floor",
		"round",
	}
	picking = template.FuncMap{
		"get": get, "len": length,
		"eq": equal, "ne": notEqual, "lt": less, "le": atMost, "gt": greater, "ge": atLeast,
		"list": list, "append": appendTo, "dict": dict,
		"routeLabels": func(b *budget, name string) string { return b.routeLabels[name] },
	}
	pickingFromSprig = []string{
		"default", "empty", "coalesce", "ternary", "kindOf", "kindIs", "hasKey", "first", "last",
	}
)

// function is one that templates may call.
type function struct {
	call reflect.Value
	// reads tells that arguments and result are counted, counts that it takes a budget.
	reads, counts bool
	// bounded is its type for templates. It takes any value where call takes a text or a whole number, see convert.
	bounded reflect.Type
	kinds   []reflect.Kind
}

// library has all functions of templates but "and", "or", "not", "index", "slice" and "call", which are
// text/template's own and cost nothing.
var library = func() map[string]*function {
	all := map[string]*function{}
	for name, f := range reading {
		all[name] = newFunction(f, true)
	}
	for name, f := range picking {
		all[name] = newFunction(f, false)
	}
	for name, f := range sprig.HermeticTxtFuncMap() {
		if picks := slices.Contains(pickingFromSprig, name); picks || slices.Contains(fromSprig, name) {
			all[name] = newFunction(f, !picks)
		}
	}
	// As Alertmanager's templates name them.
	all["toUpper"], all["toLower"] = all["upper"], all["lower"]
	return all
}()

func newFunction(f any, reads bool) *function {
	of := reflect.TypeOf(f)
	n := &function{call: reflect.ValueOf(f), reads: reads}
	var in []reflect.Type
	for t := range of.Ins() {
		switch {
		case t == reflect.TypeFor[*budget]():
			n.counts = true
			continue
		case t.Kind() == reflect.Int, t.Kind() == reflect.String:
			in = append(in, reflect.TypeFor[any]())
		default:
			in = append(in, t)
		}
		n.kinds = append(n.kinds, t.Kind())
	}
	n.bounded = reflect.FuncOf(in, []reflect.Type{of.Out(0), reflect.TypeFor[error]()}, of.IsVariadic())
	return n
}

// functions returns the functions, which are counted in a budget.
func (b *budget) functions() template.FuncMap {
	all := template.FuncMap{}
	for name, f := range library {
		all[name] = f.within(b)
	}
	return all
}

var errTakes = errors.New("it does not accept this")

// within returns the function, counted in a budget.
func (f *function) within(b *budget) any {
	return reflect.MakeFunc(f.bounded, func(args []reflect.Value) (results []reflect.Value) {
		var err error
		// The library panics if it cannot use a value, and quotes it.
		defer func() {
			if recover() != nil {
				err = errTakes
			}
			if err != nil {
				results = []reflect.Value{reflect.Zero(f.bounded.Out(0)), reflect.ValueOf(&err).Elem()}
			}
		}()
		if f.reads {
			args = f.listed(args)
		}
		if err = f.count(b, args); err != nil {
			return nil
		}
		if args, err = f.convert(args); err != nil {
			return nil
		}
		if f.counts {
			args = slices.Insert(args, 0, reflect.ValueOf(b))
		}
		if f.bounded.IsVariadic() {
			results = f.call.CallSlice(args)
		} else {
			results = f.call.Call(args)
		}
		if len(results) == 1 {
			results = append(results, reflect.Zero(reflect.TypeFor[error]()))
		}
		if results[1].IsNil() {
			err = f.count(b, results[:1])
		}
		return results
	}).Interface()
}

// listed returns the arguments without the alerts that a text has no room for.
func (f *function) listed(args []reflect.Value) []reflect.Value {
	for i, arg := range args {
		if rest, ok := reflect.TypeAssert[[]any](arg); ok && f.bounded.IsVariadic() && i == len(args)-1 {
			rest = slices.Clone(rest)
			for j, v := range rest {
				rest[j] = listed(v)
			}
			args[i] = reflect.ValueOf(rest)
			continue
		}
		if arg.Kind() != reflect.Interface {
			continue
		}
		switch arg.Interface().(type) {
		case Alerts, *Notification:
			args[i] = reflect.ValueOf(listed(arg.Interface()))
		}
	}
	return args
}

// count counts the values that the function gets or creates.
func (f *function) count(b *budget, values []reflect.Value) error {
	total := 0
	for _, v := range values {
		if !f.reads {
			break
		}
		n, err := size(v.Interface(), maxValue-total)
		if err != nil {
			return err
		}
		total += n
	}
	return b.spend(callWork + total)
}

// convert makes arguments texts and whole numbers where the function takes them. A value that is missing is an empty
// text, and a number is its digits.
func (f *function) convert(args []reflect.Value) ([]reflect.Value, error) {
	for i, kind := range f.kinds {
		switch kind {
		case reflect.Int:
			n, err := wholeOf(args[i].Interface())
			if err != nil {
				return nil, err
			}
			args[i] = reflect.ValueOf(n)
		case reflect.String:
			text, err := textOf(args[i].Interface())
			if err != nil {
				return nil, err
			}
			args[i] = reflect.ValueOf(text)
		}
	}
	return args, nil
}

// textOf returns the text that a value is.
func textOf(v any) (string, error) {
	if text, ok := v.(string); ok {
		return text, nil
	}
	switch r := reflect.ValueOf(v); {
	case isNil(r):
		return "", nil
	case r.Kind() == reflect.String:
		return r.String(), nil
	}
	if _, ok := numberOf(v); ok {
		return fmt.Sprint(v), nil
	}
	return "", errors.New("not a text")
}
