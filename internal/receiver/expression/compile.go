// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"k8s.io/utils/lru"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/template"
)

const (
	// maxSource is the longest expression, in characters. It is that of the CRD.
	maxSource = 4096
	// maxLoops limits nested or chained macros such as exists.
	maxLoops = 4
	// maxSelects limits the names or elements in a row.
	maxSelects = 32
	// maxMessage is the longest message of CEL, in characters: some list types.
	maxMessage = 200
	// maxKept limits the receivers whose compiled expressions are cached. Those of one take up to some 100 KiB.
	maxKept = 256
)

// The names of the expressions, as they are in spec.
const (
	Filter     = "filter"
	DedupKey   = "dedupKey"
	Recipients = "recipients"
)

// environment returns the functions and variables of expressions: CEL's own, those for texts and optional values, and
// recipients.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	recipients := func(name string, t v1alpha1.RecipientType) cel.EnvOption {
		return cel.Function(name,
			cel.Overload(name+"_int", []*cel.Type{cel.IntType}, recipientType, cel.UnaryBinding(newRecipient(t))),
			cel.Overload(name+"_string", []*cel.Type{cel.StringType}, recipientType, cel.UnaryBinding(newRecipient(t))))
	}
	return cel.NewCustomEnv(
		cel.StdLib(),
		// Of version 0: later ones have format, whose result is of any size.
		ext.Strings(ext.StringsVersion(0)),
		cel.OptionalTypes(),
		// Without optMap, which doubles the expression each time.
		cel.ClearMacros(), cel.Macros(cel.StandardMacros...),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.CustomTypeAdapter(values),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Variable("payload", cel.DynType), cel.Variable("notification", cel.DynType),
		recipients("user", v1alpha1.RecipientUser), recipients("group", v1alpha1.RecipientGroup),
	)
})

// Set has the expressions of a receiver.
type Set struct {
	filter, dedupKey, recipients *expression
}

// expression is one that has been compiled, or is wrong.
type expression struct {
	name   string
	source *ast.SourceInfo
	// names are the names that it uses.
	names   map[string]bool
	program cel.Program
	// invalid is why it cannot be evaluated.
	invalid error
}

// kept holds the compiled expressions of receivers that got requests, by their sources.
var kept = lru.New(maxKept)

// Of returns the expressions of a receiver, which are kept compiled.
func Of(r *v1alpha1.TeamTalkReceiver) *Set {
	type sources struct {
		kind                         v1alpha1.ReceiverType
		filter, dedupKey, recipients string
	}
	from := sources{r.Spec.Type, r.Spec.Filter, r.Spec.DedupKey, r.Spec.Recipients}
	if from == (sources{kind: r.Spec.Type}) {
		return &Set{}
	}
	if s, ok := kept.Get(from); ok {
		return s.(*Set)
	}
	s, _ := Compile(&r.Spec) // each evaluation returns its error
	kept.Add(from, s)
	return s
}

// IsEmpty reports whether there are no expressions.
func (s *Set) IsEmpty() bool { return s.filter == nil && s.dedupKey == nil && s.recipients == nil }

// Compile compiles the expressions of a receiver. An error says which of them is wrong, and where; the Set can be used
// nevertheless.
func Compile(spec *v1alpha1.TeamTalkReceiverSpec) (*Set, error) {
	s, errs := &Set{}, []error{}
	hasAlerts := spec.Type.HasAlerts()
	for _, e := range []struct {
		name, text string
		into       **expression
		result     *cel.Type
	}{
		{Filter, spec.Filter, &s.filter, cel.BoolType},
		{DedupKey, spec.DedupKey, &s.dedupKey, cel.StringType},
		{Recipients, spec.Recipients, &s.recipients, cel.ListType(recipientType)},
	} {
		if e.text == "" {
			continue
		}
		compiled := &expression{name: e.name}
		if err := compiled.compile(e.text, e.result, hasAlerts); err != nil {
			compiled.invalid = err
			errs = append(errs, fmt.Errorf("spec.%s: %w", e.name, err))
		}
		*e.into = compiled
	}
	if len(errs) == 0 {
		return s, nil
	}
	return s, errs[0]
}

func (x *expression) compile(text string, result *cel.Type, hasAlerts bool) error {
	env, err := environment()
	if err != nil {
		return err
	}
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return firstOf(issues)
	}
	x.source = parsed.NativeRep().SourceInfo()
	// Before types are checked: that takes minutes for lists in lists that are made by macros on each other's results.
	if loops(parsed.NativeRep().Expr()) > maxLoops {
		return fmt.Errorf("more than %d macros, such as exists, map and filter, nested or chained",
			maxLoops)
	}
	compiled, issues := env.Check(parsed)
	if issues.Err() != nil {
		return firstOf(issues)
	}
	if err := x.check(compiled.NativeRep(), hasAlerts); err != nil {
		return err
	}
	if t := compiled.OutputType(); !t.IsExactType(cel.DynType) && !isResult(x.name, t, result) {
		return fmt.Errorf("it must be a %s, not a %s", result, t)
	}
	x.program, err = env.Program(compiled, cel.CustomDecoratorV2(metered))
	return err
}

// isResult reports whether an expression may have a type. A key may also be a number or a time.
func isResult(name string, t, result *cel.Type) bool {
	if name == DedupKey {
		switch t.Kind() {
		case types.IntKind, types.UintKind, types.DoubleKind, types.TimestampKind:
			return true
		}
	}
	return result.IsAssignableType(t) || name == Recipients && t.Kind() == types.ListKind &&
		t.Parameters()[0].Kind() == types.DynKind
}

// check returns errors of an expression other than those of its types.
func (x *expression) check(a *ast.AST, hasAlerts bool) (err error) {
	report := func(e ast.Expr, format string, args ...any) {
		if err == nil {
			err = x.at(e.ID(), fmt.Sprintf(format, args...))
		}
	}
	selects := map[int64]int{}
	x.names = map[string]bool{}
	// Those of one name or element after another are one step of an evaluation.
	follow := func(e, operand ast.Expr) {
		if selects[e.ID()] = selects[operand.ID()] + 1; selects[e.ID()] > maxSelects {
			report(e, "more than %d names or elements in a row", maxSelects)
		}
	}
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			s := e.AsSelect()
			x.names[s.FieldName()] = true
			follow(e, s.Operand())
			if hasAlerts && s.Operand().Kind() == ast.IdentKind {
				if fields := fieldsOfVariable(s.Operand().AsIdent()); fields != nil && !fields[s.FieldName()] {
					report(e, "%s has no field %s, but %s", s.Operand().AsIdent(), s.FieldName(),
						strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
				}
			}
		case ast.CallKind:
			c := e.AsCall()
			switch name := c.FunctionName(); {
			case name == operators.Index || name == operators.OptIndex || name == operators.OptSelect:
				follow(e, c.Args()[0])
			case name == "matches" && len(c.Args()) > 0 && c.Args()[len(c.Args())-1].Kind() == ast.LiteralKind:
				pattern, _ := c.Args()[len(c.Args())-1].AsLiteral().Value().(string)
				if _, _, err := template.CompilePattern(pattern); err != nil {
					report(e, "%s", err)
				}
			}
		}
	}))
	return err
}

// fieldsOfVariable returns the fields of a variable, if it has to do with alerts.
func fieldsOfVariable(name string) map[string]bool {
	switch name {
	case "payload":
		return alertFields
	case "notification":
		return notificationFields
	}
	return nil
}

// at returns an error about a node of the expression.
func (x *expression) at(id int64, message string) error {
	if x.source == nil || id == 0 {
		return errors.New(message)
	}
	where := x.source.GetStartLocation(id)
	return positioned(where.Line(), where.Column(), message)
}

// positioned returns an error with its position. Columns of CEL begin at 0.
func positioned(line, column int, message string) error {
	if line < 1 {
		return errors.New(message)
	}
	return fmt.Errorf("line %d, column %d: %s", line, column+1, message)
}

// firstOf returns the first error of CEL's, without what it says of CEL's packages.
func firstOf(issues *cel.Issues) error {
	first := issues.Errors()[0]
	message, _, _ := strings.Cut(first.Message, "\n")
	message = template.Abbreviate(maxMessage, strings.TrimSuffix(message, " (in container '')"))
	return positioned(first.Location.Line(), first.Location.Column(), message)
}

// loops returns how many macros are in each other.
func loops(e ast.Expr) (deepest int) {
	inner := func(more ...ast.Expr) {
		for _, e := range more {
			deepest = max(deepest, loops(e))
		}
	}
	switch e.Kind() {
	case ast.CallKind:
		inner(e.AsCall().Args()...)
		if e.AsCall().IsMemberFunction() {
			inner(e.AsCall().Target())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		inner(c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result())
		deepest++
	case ast.ListKind:
		inner(e.AsList().Elements()...)
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			inner(entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.SelectKind:
		inner(e.AsSelect().Operand())
	case ast.StructKind:
		for _, field := range e.AsStruct().Fields() {
			inner(field.AsStructField().Value())
		}
	}
	return deepest
}
