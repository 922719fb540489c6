// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"fmt"
	"strconv"
	"text/template"
	"text/template/parse"
)

// Functions that a template is given calls of where text/template itself would do what
// nobody counts. One that a template calls itself only makes it end sooner.
const (
	stepFunction  = "countStep"
	enterFunction = "countEnter"
	leaveFunction = "countLeave"
	rangeFunction = "countRange"
	printFunction = "countPrint"
)

// counters returns those functions, for a budget.
func counters(b *budget) template.FuncMap {
	return template.FuncMap{
		stepFunction: func(work, alerts, labels, texts int) (string, error) {
			return "", b.block(work, alerts, labels, texts)
		},
		enterFunction: func(depth int) (string, error) {
			if b.nesting += depth; b.nesting > maxNesting {
				return "", errNesting
			}
			return "", nil
		},
		leaveFunction: func(depth int) string { b.nesting -= depth; return "" },
		rangeFunction: b.ranged,
		printFunction: b.printed,
	}
}

// block pays for what a block does by itself: its nodes, and the methods of alerts,
// labels and times that it calls.
func (b *budget) block(work, alerts, labels, texts int) error {
	if err := b.step(); err != nil {
		return err
	}
	if err := b.spend(work + alerts*b.alerts.work + labels*b.labels.work); err != nil {
		return err
	}
	return b.hold(alerts*b.alerts.made + labels*b.labels.made + texts*maxTimeText)
}

// ranged pays for a loop over a map: text/template sorts it first.
func (b *budget) ranged(v any) (any, error) {
	var names, bytes int
	switch m := v.(type) {
	case map[string]any:
		names, bytes = len(m), namesOf(m)
	case KV:
		names, bytes = len(m), namesOf(m)
	default:
		return v, nil
	}
	if err := b.spend(8 * sorting(names, bytes)); err != nil { // by reflection
		return nil, err
	}
	const pair = 112 // two of reflect's values, twice as the list grows
	return v, b.hold(names * pair)
}

// namesOf is how many bytes the names of a map have.
func namesOf[V any](m map[string]V) (bytes int) {
	for name := range m {
		bytes += len(name)
	}
	return bytes
}

// printed pays for what an action prints.
func (b *budget) printed(v any) (any, error) {
	if _, ok := v.(string); ok {
		return v, nil // it is there already
	}
	most, err := b.plain(v)
	if err != nil {
		return nil, err
	}
	if err := b.hold(most); err != nil {
		return nil, err
	}
	b.release(most, 0)
	return v, nil
}

// countSteps has all blocks of a tree counted: text/template cannot be interrupted, nor
// does it bound anything. It fails on functions that are not there
// for templates.
func countSteps(tree *parse.Tree, variables int) error {
	if tree.Root == nil {
		return nil
	}
	c := &counter{tree: tree, variables: variables}
	depth := c.list(tree.Root)
	if c.fault != nil {
		return c.fault
	}
	enter, leave := c.call(tree.Root.Pos, enterFunction, depth), c.call(tree.Root.Pos, leaveFunction, depth)
	tree.Root.Nodes = append(append([]parse.Node{enter}, tree.Root.Nodes...), leave)
	return nil
}

// counter counts what is in one tree.
type counter struct {
	tree *parse.Tree
	// variables is how many there may be: each use looks through as many.
	variables int
	fault     error
	// What the block that is looked at does by itself.
	own blockCost
}

type blockCost struct{ work, alerts, labels, texts int }

// list has a block counted, and returns how deep it is.
func (c *counter) list(list *parse.ListNode) (depth int) {
	if list == nil {
		return 0
	}
	outer := c.own
	c.own = blockCost{work: workNode}
	for _, node := range list.Nodes {
		c.own.work += workNode
		switch n := node.(type) {
		case *parse.ActionNode:
			depth = max(depth, c.pipe(n.Pipe))
			if len(n.Pipe.Decl) == 0 {
				c.append(n.Pipe, printFunction)
			}
		case *parse.TemplateNode:
			depth = max(depth, c.pipe(n.Pipe))
		case *parse.IfNode:
			depth = max(depth, c.branch(&n.BranchNode))
		case *parse.WithNode:
			depth = max(depth, c.branch(&n.BranchNode))
		case *parse.RangeNode:
			depth = max(depth, c.branch(&n.BranchNode))
			c.append(n.Pipe, rangeFunction)
		}
	}
	step := c.call(list.Pos, stepFunction, c.own.work, c.own.alerts, c.own.labels, c.own.texts)
	list.Nodes = append([]parse.Node{step}, list.Nodes...)
	c.own = outer
	return depth + 1
}

func (c *counter) branch(n *parse.BranchNode) (depth int) {
	return max(c.pipe(n.Pipe), c.list(n.List), c.list(n.ElseList))
}

// pipe counts the nodes of a pipeline, and returns how deep it is.
func (c *counter) pipe(p *parse.PipeNode) (depth int) {
	if p == nil {
		return 0
	}
	c.own.work += len(p.Decl) * (workNode + c.variables)
	for _, command := range p.Cmds {
		c.own.work += workNode
		for _, arg := range command.Args {
			depth = max(depth, c.node(arg))
		}
	}
	return depth + 1
}

func (c *counter) node(node parse.Node) (depth int) {
	c.own.work += workNode
	switch n := node.(type) {
	case *parse.PipeNode:
		return c.pipe(n)
	case *parse.ChainNode:
		c.fields(n.Field)
		return c.node(n.Node) + 1
	case *parse.FieldNode:
		c.fields(n.Ident)
	case *parse.VariableNode:
		c.own.work += c.variables
		c.fields(n.Ident[1:])
	case *parse.IdentifierNode:
		if !available(n.Ident) {
			c.fault = fmt.Errorf("function %q not defined", n.Ident)
		}
	}
	return 1
}

// fields counts what may be methods.
func (c *counter) fields(names []string) {
	for _, name := range names {
		c.own.work += workNode + len(name)
		switch name {
		case "Firing", "Resolved":
			c.own.alerts++
		case "SortedPairs", "Names", "Values", "Remove":
			c.own.labels++
		case "Format", "String":
			c.own.texts++
		}
	}
}

// append has the value of a pipeline go through a function.
func (c *counter) append(p *parse.PipeNode, function string) {
	p.Cmds = append(p.Cmds, c.command(p.Pos, function))
}

func (c *counter) command(pos parse.Pos, function string, args ...int) *parse.CommandNode {
	command := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: pos, Args: []parse.Node{
		parse.NewIdentifier(function).SetPos(pos).SetTree(c.tree),
	}}
	for _, arg := range args {
		command.Args = append(command.Args, &parse.NumberNode{
			NodeType: parse.NodeNumber, Pos: pos, IsInt: true, Int64: int64(arg), Text: strconv.Itoa(arg),
		})
	}
	return command
}

// call is an action that calls a function, and prints nothing.
func (c *counter) call(pos parse.Pos, function string, args ...int) parse.Node {
	return &parse.ActionNode{
		NodeType: parse.NodeAction, Pos: pos,
		Pipe: &parse.PipeNode{NodeType: parse.NodePipe, Pos: pos,
			Cmds: []*parse.CommandNode{c.command(pos, function, args...)}},
	}
}
