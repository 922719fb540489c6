// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"strings"

	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// call is a function of CEL that counts its work before it does it. It returns nil if it does not take the arguments.
type call func(b *budget, args []ref.Val) ref.Val

// calls are the functions whose work or result is not linear in what they are given, or that make lists. All others are
// counted by the sizes of their arguments. See the hostile expressions in the tests.
var calls = map[string]call{
	operators.Equals:    equal,
	operators.NotEquals: notEqual,
	operators.In:        in,
	operators.Add:       add,
	"matches":           matches,
	"replace":           replace,
	"split":             split,
	"join":              join,
	"indexOf":           indexOf,
	"lastIndexOf":       lastIndexOf,
}

func noSuchOverload() ref.Val {
	return types.NewErr("no such overload")
}

func isAggregate(v ref.Val) bool {
	switch v.(type) {
	case traits.Lister, traits.Mapper, *labels:
		return true
	}
	return false
}

func equal(b *budget, args []ref.Val) ref.Val {
	x, y := asMap(args[0]), asMap(args[1])
	if isAggregate(x) && isAggregate(y) {
		b.readAll(x)
	}
	return types.Equal(x, y)
}

func notEqual(b *budget, args []ref.Val) ref.Val {
	same, ok := equal(b, args).(types.Bool)
	if !ok {
		return nil
	}
	return !same
}

func in(b *budget, args []ref.Val) ref.Val {
	container, ok := args[1].(traits.Container)
	if !ok {
		return nil
	}
	if isAggregate(args[0]) {
		return types.WrapErr(errIn)
	}
	if l, isList := args[1].(traits.Lister); isList {
		b.spend(length(l))
	}
	return container.Contains(args[0])
}

// add makes lists flat: with CEL's own, each element of a sum of many lists is searched for in all of them.
func add(b *budget, args []ref.Val) ref.Val {
	x, isList := args[0].(traits.Lister)
	if !isList {
		if adder, ok := args[0].(traits.Adder); ok {
			return adder.Add(args[1])
		}
		return nil
	}
	y, isList := args[1].(traits.Lister)
	if !isList {
		return nil
	}
	if _, ofMacro := x.(traits.MutableLister); ofMacro {
		return x.Add(y)
	}
	b.spend(length(x) + length(y))
	sum := make([]ref.Val, 0, length(x)+length(y))
	for _, l := range []traits.Lister{x, y} {
		for i := range length(l) {
			sum = append(sum, l.Get(types.Int(i)))
		}
	}
	return types.NewRefValList(values, sum)
}

// texts returns arguments that are texts.
func texts(args []ref.Val) ([]string, bool) {
	list := make([]string, len(args))
	for i, arg := range args {
		text, ok := arg.(types.String)
		if !ok {
			return nil, false
		}
		list[i] = string(text)
	}
	return list, true
}

// textsAndCount returns so many arguments that are texts, and the next one, which is a number. If there is none it is
// -1.
func textsAndCount(args []ref.Val, count int) (list []string, n int, ok bool) {
	n = -1
	if len(args) > count {
		i, ok := args[count].(types.Int)
		if !ok {
			return nil, 0, false
		}
		n = int(i)
	}
	list, ok = texts(args[:count])
	return list, n, ok
}

func matches(b *budget, args []ref.Val) ref.Val {
	t, ok := texts(args)
	if !ok {
		return nil
	}
	p, err := b.compile(t[1])
	if err != nil {
		return types.WrapErr(fault(err.Error()))
	}
	b.spend(product(p.instructions, len(t[0])+1, unitInstructions))
	return types.Bool(p.re.MatchString(t[0]))
}

func replace(b *budget, args []ref.Val) ref.Val {
	t, n, ok := textsAndCount(args, 3)
	if !ok {
		return nil
	}
	count := strings.Count(t[0], t[1])
	if n >= 0 {
		count = min(count, n)
	}
	b.spend(product(count, len(t[2])+1, unitBytes) + count)
	return types.String(strings.Replace(t[0], t[1], t[2], n))
}

func split(b *budget, args []ref.Val) ref.Val {
	t, n, ok := textsAndCount(args, 2)
	if !ok {
		return nil
	}
	count := strings.Count(t[0], t[1]) + 1
	if n >= 0 {
		count = min(count, n)
	}
	b.spend(count)
	return types.NewStringList(values, strings.SplitN(t[0], t[1], n))
}

func join(b *budget, args []ref.Val) ref.Val {
	list, ok := args[0].(traits.Lister)
	if !ok {
		return nil
	}
	separator := ""
	if len(args) > 1 {
		text, isText := args[1].(types.String)
		if !isText {
			return nil
		}
		separator = string(text)
	}
	parts := make([]string, 0, min(length(list), maxWork))
	for i := range length(list) {
		text, isText := list.Get(types.Int(i)).(types.String)
		if !isText {
			return nil
		}
		b.spend(1 + (len(text)+len(separator))/unitBytes)
		parts = append(parts, string(text))
	}
	return types.String(strings.Join(parts, separator))
}

// indexOf and lastIndexOf have CEL's position, which is in characters.
func indexOf(b *budget, args []ref.Val) ref.Val { return find(b, args, 0, strings.Index) }

func lastIndexOf(b *budget, args []ref.Val) ref.Val { return find(b, args, -1, strings.LastIndex) }

func find(b *budget, args []ref.Val, from int, index func(text, of string) int) ref.Val {
	t, n, ok := textsAndCount(args, 2)
	if !ok {
		return nil
	}
	b.spend(len(t[0]) / unitBytes)
	text, skipped := []rune(t[0]), 0
	if len(args) > 2 {
		if n < 0 {
			return types.NewErr("index out of bounds")
		}
		n = min(n, len(text))
		if from == 0 {
			text, skipped = text[n:], n
		} else {
			text = text[:min(len(text), n+len([]rune(t[1])))]
		}
	}
	at := index(string(text), t[1])
	if at < 0 {
		return types.Int(-1)
	}
	return types.Int(skipped + len([]rune(string(text)[:at])))
}
