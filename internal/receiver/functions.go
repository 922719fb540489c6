// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"reflect"
	"text/template"

	sprig "github.com/go-task/slim-sprig/v3"
)

// fromLibrary are the functions of sprig that templates may use, with how many bytes
// each makes at most of one byte of the texts that it is given. They look at no more
// of a list or map than whether it is empty, its kind, or one of its values. What does
// more is below, and pays for it.
var fromLibrary = map[string]int{
	"trunc": 0, "substr": 0, "trim": 0, "trimSuffix": 0, "trimPrefix": 0, "hasPrefix": 0, "hasSuffix": 0, "plural": 0,
	"upper": 3, "lower": 3, "title": 3, // letters and their other case differ in length
	"atoi": 1, "int": 0, "int64": 0, "float64": 0, "add": 0, "add1": 0, "sub": 0, "div": 0, "mod": 0, "mul": 0,
	"max": 0, "min": 0, "ceil": 0, "floor": 0, "round": 0,
	"default": 0, "empty": 0, "coalesce": 0, "ternary": 0, "kindOf": 0, "kindIs": 0, "hasKey": 0, "first": 0, "last": 0,
	"b64dec": 1, "sha256sum": 1, "urlParse": 8, "base": 1,
}

// own are the other functions. One that takes a budget first pays by itself; the rest
// do as those of the library do, and share what they are given.
var own = template.FuncMap{
	// As Alertmanager's templates name them.
	"since":  since,
	"date":   formatTime,
	"abbrev": abbreviated,
	"get":    lookUp,
	// For the built-in templates.
	"entry":    func(a Alert, common KV) entry { return entry{a, common} },
	"hasLabel": func(kv KV, name string) bool { _, ok := kv[name]; return ok },
	// What it is given may be the data: the fault says where it was called.
	"fail": func(string) (string, error) { return "", errors.New("the template says so") },
	// Those of the library that look at all they are given, or make much of it.
	"toString": shown, "quote": quote, "squote": squote, "toJson": toJSON,
	"contains": contains, "replace": replace, "trimAll": trimAll,
	"splitList": splitList, "join": joinTexts, "sortAlpha": sortTexts,
	"regexMatch": regexMatch, "regexFind": regexFind, "regexReplaceAll": regexReplaceAll,
	// Those of text/template itself; "and", "or" and "not" cost nothing.
	"print": shown, "println": shownInLine, "printf": format,
	"html": escaped(template.HTMLEscaper), "js": escaped(template.JSEscaper),
	"urlquery": escaped(template.URLQueryEscaper),
	"index":    at, "slice": sliced, "len": length,
	"eq": equal,
	"ne": func(b *budget, x, y any) (bool, error) { same, err := equal(b, x, y); return !same, err },
	"lt": comparing(func(order int) bool { return order < 0 }),
	"le": comparing(func(order int) bool { return order <= 0 }),
	"gt": comparing(func(order int) bool { return order > 0 }),
	"ge": comparing(func(order int) bool { return order >= 0 }),
}

// function is one that templates may use.
type function struct {
	call reflect.Value
	// grows is how many bytes it makes at most of each that it is given.
	grows int
	// pays tells that it takes a budget first.
	pays bool
	// bounded is its type for templates, whole is where it takes a whole number: those
	// of JSON are of several types.
	bounded reflect.Type
	whole   []int
}

// library has all functions that templates may use, but and, or and not.
var library = func() map[string]*function {
	functions := map[string]*function{}
	for name, f := range own {
		functions[name] = newFunction(f, 0)
	}
	all := sprig.HermeticTxtFuncMap()
	for name, grows := range fromLibrary {
		functions[name] = newFunction(all[name], grows)
	}
	// As Alertmanager's templates name them.
	functions["toUpper"], functions["toLower"] = functions["upper"], functions["lower"]
	return functions
}()

func newFunction(f any, grows int) *function {
	of := reflect.TypeOf(f)
	n := &function{call: reflect.ValueOf(f), grows: grows}
	var in []reflect.Type
	for t := range of.Ins() {
		switch {
		case t == reflect.TypeFor[*budget]():
			n.pays = true
		case t.Kind() == reflect.Int:
			n.whole = append(n.whole, len(in))
			in = append(in, reflect.TypeFor[any]())
		default:
			in = append(in, t)
		}
	}
	n.bounded = reflect.FuncOf(in, []reflect.Type{of.Out(0), reflect.TypeFor[error]()}, of.IsVariadic())
	return n
}

// functions returns the functions, each of which is paid for out of the budget; nil:
// for parsing alone.
func functions(b *budget) template.FuncMap {
	bounded := counters(b)
	for name, f := range library {
		bounded[name] = f.within(b)
	}
	return bounded
}

// available tells whether a template may call a function.
func available(name string) bool {
	return library[name] != nil || name == "and" || name == "or" || name == "not"
}

// maxArguments of a function that takes any number.
const maxArguments = 16

var (
	errTakes     = errors.New("it does not take this")
	errArguments = fmt.Errorf("more than %d arguments", maxArguments)
)

// within returns the function, paid for out of the budget.
func (f *function) within(b *budget) any {
	return reflect.MakeFunc(f.bounded, func(args []reflect.Value) (results []reflect.Value) {
		fault := func(err error) []reflect.Value {
			return []reflect.Value{reflect.Zero(f.bounded.Out(0)), reflect.ValueOf(&err).Elem()}
		}
		// The library panics where it does not like a value, and quotes it.
		defer func() {
			if recover() != nil {
				results = fault(errTakes)
			}
		}()
		if f.bounded.IsVariadic() && args[len(args)-1].Len() > maxArguments {
			return fault(errArguments)
		}
		held, err := b.call(f, args)
		if err != nil {
			return fault(err)
		}
		for _, i := range f.whole {
			n, err := wholeOf(args[i].Interface())
			if err != nil {
				return fault(err)
			}
			args[i] = reflect.ValueOf(n)
		}
		if f.pays {
			args = append([]reflect.Value{reflect.ValueOf(b)}, args...)
		}
		if f.bounded.IsVariadic() {
			results = f.call.CallSlice(args)
		} else {
			results = f.call.Call(args)
		}
		if results[0].Kind() == reflect.String {
			b.release(held, results[0].Len())
		}
		if len(results) == 1 {
			var none error
			results = append(results, reflect.ValueOf(&none).Elem())
		}
		return results
	}).Interface()
}

// call pays for a call, and returns how much it holds. A function that does not pay by
// itself reads the texts that it is given, and makes no more of them than it grows.
func (b *budget) call(f *function, args []reflect.Value) (held int, err error) {
	if err := b.step(); err != nil {
		return 0, err
	}
	if err := b.spend(workCall); err != nil {
		return 0, err
	}
	if f.pays {
		return 0, nil
	}
	bytes := 0
	look := func(v reflect.Value) {
		if v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if v.Kind() == reflect.String {
			bytes += v.Len()
		}
	}
	for i, arg := range args {
		look(arg)
		if f.bounded.IsVariadic() && i == len(args)-1 {
			for j := range arg.Len() {
				look(arg.Index(j))
			}
		}
	}
	if err := b.spend(2 * bytes); err != nil {
		return 0, err
	}
	const result = 32
	held = bytes*f.grows + result
	return held, b.hold(held)
}
