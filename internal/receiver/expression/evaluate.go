// SPDX-License-Identifier: Apache-2.0

package expression

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/interpreter"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// maxKey is the longest key that is kept, in bytes. A longer one is kept as its digest: each alert of a body has one.
const maxKey = 1024

// fault is an error of an evaluation that does not quote data.
type fault string

// Error implements error.
func (f fault) Error() string { return string(f) }

const (
	errWork          fault = "it takes too long, or its result is too large"
	errIn            fault = "in finds texts, numbers and booleans only"
	errRecipientID   fault = "the id of a recipient must be from 1 to 2147483647"
	errRecipientName fault = "the name of a recipient must not be empty"
)

// Fault is why an expression of a receiver was not used.
type Fault struct {
	// Expression is its name in spec.
	Expression string
	// Count is for how many alerts, or bodies, it was not used.
	Count int
	// Err is why, the first time. It does not quote the data.
	Err error
}

// Evaluation evaluates the expressions of a receiver for one body. It may be used by one goroutine.
type Evaluation struct {
	ctx          context.Context
	set          *Set
	notification any
	work         int
	patterns     map[string]*pattern
	faults       []Fault
}

// Evaluate begins the evaluations for one body. Notification is the value of the variable of that name.
func (s *Set) Evaluate(ctx context.Context, notification any) *Evaluation {
	return &Evaluation{
		ctx: ctx, set: s, notification: notification, work: bodyWork, patterns: map[string]*pattern{},
	}
}

// Faults returns why expressions were not used, one for each of them.
func (e *Evaluation) Faults() []Fault { return e.faults }

// Keep reports whether an alert, or a body, must be sent. It is true if the filter fails: otherwise an alert could be
// lost unnoticed.
func (e *Evaluation) Keep(payload any) bool {
	if e.set.filter == nil {
		return true
	}
	v, err := e.evaluate(e.set.filter, payload)
	if err != nil {
		return true
	}
	keep, ok := v.(types.Bool)
	if !ok {
		e.fail(e.set.filter, fmt.Errorf("it must be true or false, not a %s", v.Type().TypeName()))
		return true
	}
	return bool(keep)
}

// Key returns the key of an alert, or a body. ok is false if there is no such expression, it fails, or its value is
// empty.
func (e *Evaluation) Key(payload any) (key string, ok bool) {
	if e.set.dedupKey == nil {
		return "", false
	}
	v, err := e.evaluate(e.set.dedupKey, payload)
	if err != nil {
		return "", false
	}
	switch v.(type) {
	case types.String, types.Int, types.Uint, types.Double, types.Timestamp:
		text, isText := v.ConvertToType(types.StringType).(types.String)
		if len(text) > maxKey {
			return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text))), true
		}
		return string(text), isText && text != ""
	}
	e.fail(e.set.dedupKey, fmt.Errorf("it must be a text or a number, not a %s", v.Type().TypeName()))
	return "", false
}

// Recipients returns who gets an alert, or a body. If there are none, spec.to does.
func (e *Evaluation) Recipients(payload any) []v1alpha1.Recipient {
	if e.set.recipients == nil {
		return nil
	}
	v, err := e.evaluate(e.set.recipients, payload)
	if err != nil {
		return nil
	}
	list, ok := v.(traits.Lister)
	if !ok {
		e.fail(e.set.recipients, fmt.Errorf("it must be a list of recipients, not a %s", v.Type().TypeName()))
		return nil
	}
	all := make([]v1alpha1.Recipient, 0, length(list))
	for i := range length(list) {
		r, ok := list.Get(types.Int(i)).(recipient)
		if !ok {
			e.fail(e.set.recipients, errors.New("it must be a list of user(...) and group(...)"))
			return nil
		}
		all = append(all, r.Recipient)
	}
	return all
}

// fail records that an expression was not used.
func (e *Evaluation) fail(x *expression, err error) {
	for i := range e.faults {
		if e.faults[i].Expression == x.name {
			e.faults[i].Count++
			return
		}
	}
	e.faults = append(e.faults, Fault{x.name, 1, fmt.Errorf("spec.%s: %w", x.name, err)})
}

// evaluate evaluates an expression. If it returns an error, it has recorded it.
func (e *Evaluation) evaluate(x *expression, payload any) (ref.Val, error) {
	if x.invalid != nil {
		e.fail(x, x.invalid)
		return nil, x.invalid
	}
	b := &budget{ctx: e.ctx, work: min(maxWork, e.work), patterns: e.patterns}
	before := b.work
	v, _, err := x.program.Eval(&activation{payload: payload, notification: e.notification, budget: b})
	e.work = max(0, e.work-evaluationWork-(before-b.work))
	if err != nil {
		err = x.withoutData(err)
		e.fail(x, err)
		return nil, err
	}
	return v, nil
}

// withoutData returns an error of CEL with its position, and without the data that it may quote.
func (x *expression) withoutData(err error) error {
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok {
		return cancelled
	}
	message := "a value cannot be used here"
	if own, ok := errors.AsType[fault](err); ok {
		message = string(own)
	} else if key, missing := strings.CutPrefix(err.Error(), "no such key: "); missing {
		message = "no such key"
		if x.names[key] {
			message += ": " + key
		}
	} else {
		for known, text := range map[string]string{
			"no such overload": "an operation or function does not take a value of this type", "index out of": "no such index",
			"division by zero": "division by zero", "modulus by zero": "division by zero",
		} {
			if strings.HasPrefix(err.Error(), known) {
				message = text
			}
		}
	}
	if at, ok := errors.AsType[*types.Err](err); ok {
		return x.at(at.NodeID(), message)
	}
	return errors.New(message)
}

// activation has the variables of an evaluation.
type activation struct {
	payload, notification any
	budget                *budget
}

// ResolveName implements interpreter.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case budgetName:
		return a.budget, true
	case "payload":
		return a.payload, true
	case "notification":
		return a.notification, true
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (a *activation) Parent() interpreter.Activation { return nil }
