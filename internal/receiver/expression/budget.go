// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"context"
	"regexp"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// maxWork is the work of one evaluation, and bodyWork that of all for one body. A unit takes some 100 ns.
	maxWork  = 200_000
	bodyWork = 2_000_000
	// evaluationWork is the work of an evaluation itself.
	evaluationWork = 20
	// checkInterval is the number of steps between checks of ctx.
	checkInterval = 256

	// Per unit: bytes of a text, elements of a list.
	unitBytes    = 16
	unitElements = 8
	// Per unit: instructions of a regular expression times the bytes that it reads.
	unitInstructions = 10
	// zoneWork is the work of a function that loads a time zone.
	zoneWork = 500
)

// CEL's accounting is not used: it counts a call after it is done, and a comparison of two lists only by their lengths.

// budget is the rest of the work that one evaluation may use.
type budget struct {
	ctx   context.Context
	work  int
	steps int
	// patterns are compiled once for a body.
	patterns map[string]*pattern
}

// pattern is a compiled regular expression.
type pattern struct {
	re *regexp.Regexp
	// instructions of its program.
	instructions int
}

// spend counts work. It ends the evaluation if there is none left: an error would be ignored by || and &&.
func (b *budget) spend(work int) {
	if work < 0 || work > b.work {
		b.work = 0
		panic(interpreter.EvalCancelledError{Message: errWork.Error(), Cause: interpreter.CostLimitExceeded})
	}
	b.work -= work
	if b.steps++; b.steps%checkInterval == 0 && b.ctx.Err() != nil {
		panic(interpreter.EvalCancelledError{Message: b.ctx.Err().Error(), Cause: interpreter.ContextCancelled})
	}
}

// product is a work that depends on two sizes.
func product(x, y, perUnit int) int {
	if y > 0 && x > maxWork*perUnit/y {
		return maxWork + 1
	}
	return x * y / perUnit
}

// read counts the reading of a value, but not of its elements.
func (b *budget) read(v ref.Val) {
	switch v := v.(type) {
	case types.String:
		b.spend(len(v) / unitBytes)
	case types.Bytes:
		b.spend(len(v) / unitBytes)
	case traits.MutableLister: // of a macro, which adds to it
	case traits.Lister:
		b.spend(length(v) / unitElements)
	}
}

// readAll counts the reading of a value with all that is in it.
func (b *budget) readAll(v ref.Val) {
	b.spend(1)
	switch v := v.(type) {
	case traits.Lister:
		for i := range length(v) {
			b.readAll(v.Get(types.Int(i)))
		}
	case traits.Mapper:
		for i := v.Iterator(); i.HasNext() == types.True; {
			key := i.Next()
			b.readAll(key)
			b.readAll(v.Get(key))
		}
	default:
		b.read(v)
	}
}

// compile compiles a regular expression, once for a body.
func (b *budget) compile(text string) (*pattern, error) {
	if p := b.patterns[text]; p != nil {
		return p, nil
	}
	b.spend(template.PatternWork(text) / unitBytes)
	re, instructions, err := template.CompilePattern(text)
	if err != nil {
		return nil, err
	}
	b.spend(template.PatternWork(text)/unitBytes + instructions)
	p := &pattern{re, instructions}
	b.patterns[text] = p
	return p, nil
}

func length(v traits.Sizer) int {
	n, _ := v.Size().(types.Int)
	return int(n)
}

// budgetName is how nodes find the budget. No expression can name it.
const budgetName = "@budget"

func budgetOf(frame *interpreter.ExecutionFrame) *budget {
	b, _ := frame.ResolveName(budgetName)
	return b.(*budget)
}

// metered wraps a node of a program to count its work.
func metered(node interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	switch n := node.(type) {
	case *step, *attributeStep, *constantStep, *callStep:
		return n, nil
	case interpreter.InterpretableCall:
		if f := calls[n.Function()]; f != nil {
			return &callStep{InterpretableCall: n, call: f}, nil
		}
		if len(n.Args()) == 2 && strings.HasPrefix(n.Function(), "get") {
			return &step{node, zoneWork}, nil // such as getHours("Asia/Shanghai")
		}
	case interpreter.InterpretableAttribute:
		return &attributeStep{n}, nil
	case interpreter.InterpretableConst:
		return &constantStep{n}, nil
	}
	return &step{node, 0}, nil
}

// execute executes a node, and counts it and the reading of its value: what gets the value is linear in its size.
func execute(node interpreter.InterpretableV2, frame *interpreter.ExecutionFrame) ref.Val {
	b := budgetOf(frame)
	b.spend(1)
	v := node.Exec(frame)
	b.read(v)
	return v
}

// step is any node. Those that CEL has to know as such have types of their own.
type step struct {
	interpreter.InterpretableV2
	more int // work
}

// Exec implements interpreter.InterpretableV2.
func (s *step) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	budgetOf(frame).spend(s.more)
	return execute(s.InterpretableV2, frame)
}

// Eval implements interpreter.Interpretable.
func (s *step) Eval(vars interpreter.Activation) ref.Val { return s.Exec(interpreter.AsFrame(vars)) }

type attributeStep struct {
	interpreter.InterpretableAttribute
}

// Exec implements interpreter.InterpretableV2.
func (s *attributeStep) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return execute(s.InterpretableAttribute, frame)
}

// Eval implements interpreter.Interpretable.
func (s *attributeStep) Eval(vars interpreter.Activation) ref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}

type constantStep struct{ interpreter.InterpretableConst }

// Exec implements interpreter.InterpretableV2.
func (s *constantStep) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	return execute(s.InterpretableConst, frame)
}

// Eval implements interpreter.Interpretable.
func (s *constantStep) Eval(vars interpreter.Activation) ref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}

// callStep calls a function of calls in place of CEL's.
type callStep struct {
	interpreter.InterpretableCall
	call call
}

// Exec implements interpreter.InterpretableV2.
func (s *callStep) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	b := budgetOf(frame)
	b.spend(1)
	args := make([]ref.Val, len(s.Args()))
	for i, arg := range s.Args() {
		if args[i] = arg.Exec(frame); types.IsUnknownOrError(args[i]) {
			return args[i]
		}
	}
	v := s.call(b, args)
	if v == nil {
		v = noSuchOverload()
	}
	b.read(v)
	return types.LabelErrNode(s.ID(), v)
}

// Eval implements interpreter.Interpretable.
func (s *callStep) Eval(vars interpreter.Activation) ref.Val {
	return s.Exec(interpreter.AsFrame(vars))
}
