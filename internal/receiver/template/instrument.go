// SPDX-License-Identifier: Apache-2.0

package template

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// Functions that instrument inserts calls of. Templates cannot name them: they are unknown when a template is parsed.
const (
	blockFunction   = "countBlock"
	enterFunction   = "enterTemplate"
	leaveFunction   = "leaveTemplate"
	rangeFunction   = "countRange"
	displayFunction = "display"
)

// inserted returns these functions.
func (b *budget) inserted() template.FuncMap {
	return template.FuncMap{
		blockFunction: func(work, listMethods, setMethods int) (string, error) {
			return "", b.spend(callWork + work + listMethods*b.listMethod + setMethods*b.setMethod)
		},
		enterFunction: func(depth int) (string, error) {
			if b.depth += depth; b.depth > maxDepth {
				return "", errDepth
			}
			return "", nil
		},
		leaveFunction: func(depth int) string { b.depth -= depth; return "" },
		// text/template sorts the names of a map before the first iteration, by reflection.
		rangeFunction: func(v any) (any, error) {
			switch m := v.(type) {
			case map[string]any:
				return v, b.spend(4 * names(m))
			case KV:
				return v, b.spend(4 * names(m))
			case Alerts:
				return m.listed(), b.spend(2 * len(m))
			}
			return v, nil
		},
		// What an action prints. A field that is missing or null is an empty text.
		displayFunction: func(v any) (any, error) {
			if n, ok := v.(map[string]any); v == nil || ok && n == nil {
				return "", nil
			}
			if _, ok := v.(string); ok {
				return v, nil
			}
			v = listed(v)
			n, err := size(v, maxValue)
			if err != nil {
				return nil, err
			}
			return v, b.spend(n)
		},
	}
}

// instrument has all blocks of a template counted, and how deep they are in each other. It fails if the template is
// too deep, or calls one that is not defined.
func instrument(t *template.Template, tree *parse.Tree) error {
	if tree.Root == nil {
		return nil
	}
	// No more can be in each other than there are.
	source := tree.Root.String()
	depth := 1 + strings.Count(source, "{{") + strings.Count(source, "(")
	i := &instrumenter{template: t, tree: tree, variables: strings.Count(source, ":=")}
	if depth > maxDepth {
		return errDepth
	}
	if i.list(tree.Root); i.undefined != "" {
		return fmt.Errorf("template %q is not defined", i.undefined)
	}
	tree.Root.Nodes = slices.Concat([]parse.Node{i.call(enterFunction, depth)}, tree.Root.Nodes,
		[]parse.Node{i.call(leaveFunction, depth)})
	return nil
}

type instrumenter struct {
	template *template.Template
	tree     *parse.Tree
	// variables is how many there may be.
	variables int
	// undefined is the name of a template that is called and not defined.
	undefined string
}

// list has a block counted. Its source is without the blocks in it, which are counted by themselves.
func (i *instrumenter) list(list *parse.ListNode) {
	if list == nil {
		return
	}
	var source strings.Builder
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			source.WriteString(n.String())
			if len(n.Pipe.Decl) == 0 {
				i.pass(n.Pipe, displayFunction)
			}
		case *parse.TemplateNode:
			source.WriteString(n.String())
			if i.template.Lookup(n.Name) == nil {
				i.undefined = n.Name
			}
		case *parse.IfNode:
			i.branch(&source, &n.BranchNode)
		case *parse.WithNode:
			i.branch(&source, &n.BranchNode)
		case *parse.RangeNode:
			i.branch(&source, &n.BranchNode)
			i.pass(n.Pipe, rangeFunction)
		}
	}
	count := func(names ...string) (n int) {
		for _, name := range names {
			n += strings.Count(source.String(), name)
		}
		return n
	}
	// A variable is looked for among all that there are.
	work := sourceWork*source.Len() + valueWork*len(list.Nodes) + count("$")*i.variables
	block := i.call(blockFunction, work, count("Firing", "Resolved"),
		count("SortedPairs", "Names", "Values", "Remove", "Join", "String", "Format"))
	list.Nodes = append([]parse.Node{block}, list.Nodes...)
}

func (i *instrumenter) branch(source *strings.Builder, n *parse.BranchNode) {
	source.WriteString(n.Pipe.String())
	i.list(n.List)
	i.list(n.ElseList)
}

// pass has the value of a pipeline pass through a function.
func (i *instrumenter) pass(p *parse.PipeNode, function string) {
	p.Cmds = append(p.Cmds, i.command(function))
}

// call is an action that calls a function with numbers, and prints nothing.
func (i *instrumenter) call(function string, args ...int) parse.Node {
	return &parse.ActionNode{NodeType: parse.NodeAction, Pipe: &parse.PipeNode{
		NodeType: parse.NodePipe, Cmds: []*parse.CommandNode{i.command(function, args...)},
	}}
}

func (i *instrumenter) command(function string, args ...int) *parse.CommandNode {
	command := &parse.CommandNode{
		NodeType: parse.NodeCommand, Args: []parse.Node{parse.NewIdentifier(function).SetTree(i.tree)},
	}
	for _, arg := range args {
		command.Args = append(command.Args,
			&parse.NumberNode{NodeType: parse.NodeNumber, IsInt: true, Int64: int64(arg), Text: strconv.Itoa(arg)})
	}
	return command
}
