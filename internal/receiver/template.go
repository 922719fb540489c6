package receiver

import (
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// Bounds of one execution of a template. A template comes from whoever may write
// receivers, the data from whoever may post: neither may hold the process up.
const (
	maxSteps = 20_000  // iterations of loops, calls of templates and functions
	maxMade  = 4 << 20 // bytes that functions have returned
)

var (
	// errBudget ends an execution that takes too much.
	errBudget = errors.New("it takes too long, or makes too much")
	// errLong ends one whose output is longer than asked for.
	errLong = errors.New("it makes too long a text")
)

// stepFunction counts a step. A template that calls it itself only ends sooner.
const stepFunction = "countStep"

// Template is a template that cannot read anything but its data, and ends soon.
type Template struct {
	parsed *template.Template
}

// ParseTemplate parses a template, with the functions that it may use.
func ParseTemplate(name, text string) (*Template, error) {
	t, err := template.New(name).Funcs(functions(nil)).Option("missingkey=zero").Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	for _, named := range t.Templates() {
		if named.Tree != nil {
			countSteps(named.Tree, named.Root, true)
		}
	}
	return &Template{parsed: t}, nil
}

// Execute renders the data. It fails at a time at the latest, and as soon as the
// text is longer than so many bytes.
func (t *Template) Execute(data any, until time.Time, limit int) (out string, err error) {
	// A method of the library that panics is a fault of the template. What it says may
	// be the data.
	defer func() {
		if recover() != nil {
			err = errors.New("it panics")
		}
	}()
	b := &budget{until: until, limit: limit}
	own, err := t.parsed.Clone()
	if err != nil {
		return "", err
	}
	if err := own.Funcs(functions(b)).Execute(b, data); err != nil {
		for _, bound := range []error{errBudget, errLong} {
			if errors.Is(err, bound) {
				return "", fmt.Errorf("%s: %w", own.Name(), bound)
			}
		}
		return "", errors.New(discreet(strings.TrimPrefix(err.Error(), "template: ")))
	}
	return b.out.String(), nil
}

// discreet is what text/template says of a fault without the data that it quotes: it
// goes to logs and statuses. Elsewhere it quotes no more than the template.
func discreet(fault string) string {
	for _, beforeData := range []string{": range can't iterate over ", ": if/with can't use "} {
		if where, _, quotes := strings.Cut(fault, beforeData); quotes {
			return where + beforeData + "this"
		}
	}
	return fault
}

// budget is what an execution may still take. It takes the output.
type budget struct {
	steps, made, limit int
	until              time.Time
	out                strings.Builder
}

// Write implements io.Writer.
func (b *budget) Write(p []byte) (int, error) {
	if b.out.Len()+len(p) > b.limit {
		return 0, errLong
	}
	if time.Now().After(b.until) {
		return 0, errBudget
	}
	return b.out.Write(p)
}

// step counts one step, and what it made.
func (b *budget) step(made int) error {
	b.steps++
	b.made += made
	if b.steps > maxSteps || b.made > maxMade || time.Now().After(b.until) {
		return errBudget
	}
	return nil
}

// countSteps puts a call of stepFunction before all that may be repeated: the
// bodies of loops, and of templates, which may call themselves. text/template
// cannot be interrupted otherwise.
func countSteps(tree *parse.Tree, list *parse.ListNode, repeated bool) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.IfNode:
			countSteps(tree, n.List, false)
			countSteps(tree, n.ElseList, false)
		case *parse.WithNode:
			countSteps(tree, n.List, false)
			countSteps(tree, n.ElseList, false)
		case *parse.RangeNode:
			countSteps(tree, n.List, true)
			countSteps(tree, n.ElseList, false)
		}
	}
	if repeated {
		list.Nodes = append([]parse.Node{step(tree, list.Pos)}, list.Nodes...)
	}
}

func step(tree *parse.Tree, pos parse.Pos) parse.Node {
	call := &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: pos,
		Args: []parse.Node{parse.NewIdentifier(stepFunction).SetPos(pos).SetTree(tree)},
	}
	return &parse.ActionNode{
		NodeType: parse.NodeAction, Pos: pos,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos, Cmds: []*parse.CommandNode{call}},
	}
}
