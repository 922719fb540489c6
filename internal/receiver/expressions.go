// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// Bounds of a regular expression. Matching takes the product of its program's size and
// the text's length, and a few characters can ask for a program of millions.
const (
	maxExpression = 1024 // bytes
	maxProgram    = 1000 // instructions
)

var (
	errExpression      = errors.New("not a regular expression")
	errExpressionLong  = errors.New("the regular expression is longer than 1024 bytes")
	errExpressionLarge = errors.New("the regular expression takes more than 1000 instructions: repeat less")
)

// expression is a regular expression that was paid for.
type expression struct {
	// from finds its first match in a text; after in what follows a text's first
	// character, with its own match as the first group.
	from, after *regexp.Regexp
	// step is the work that one character of a text takes.
	step int
}

// expression compiles a regular expression; each once in an execution. With groups: to
// find more than whether and where it matches.
func (b *budget) expression(text string, groups bool) (*expression, error) {
	key := text
	if groups {
		key = "groups " + text
	}
	if found := b.expressions[key]; found != nil {
		return found, nil
	}
	if len(text) > maxExpression {
		return nil, errExpressionLong
	}
	if err := b.spend(3 * parsing(text)); err != nil { // here, and for each program
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, errExpression // what it says may be the data
	}
	size, runes := program(parsed)
	if size > maxProgram {
		return nil, errExpressionLarge
	}
	registers := 2
	if groups {
		registers = 2 * (parsed.MaxCap() + 2)
	}
	if err := b.spend(4 * size * (workValue + runes)); err != nil {
		return nil, err
	}
	if err := b.hold(4 * (len(text)*64 + size*(256+8*registers) + runes*4)); err != nil {
		return nil, err
	}
	x := &expression{step: size * (2 + registers/4)}
	if x.from, err = regexp.Compile(text); err != nil {
		return nil, errExpression
	}
	if groups {
		// What comes before a character matters to ^ and \b, so the one before is part of it.
		const first = `\A(?s:.)(?s:.*?)(`
		if x.after, err = regexp.Compile(first + text + ")"); err != nil {
			x.after, err = regexp.Compile(first + text + `\E)`) // of a \Q that is left open
		}
		if err != nil {
			return nil, errExpression
		}
	}
	if b.expressions == nil {
		b.expressions = map[string]*expression{}
	}
	b.expressions[key] = x
	return x, nil
}

// parsing is the work that it takes to parse an expression, at the most. Ranges in
// which upper and lower case are the same have each of their characters looked at;
// classes of Unicode have hundreds of ranges.
func parsing(text string) int {
	work := len(text) * workNode
	work += (strings.Count(text, `\p`) + strings.Count(text, `\P`)) * 32_000
	wide := strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf }) ||
		strings.Contains(text, `\x`) || strings.ContainsAny(text, `\`) && strings.ContainsAny(text, "01234567")
	if folds(text) && wide {
		work += strings.Count(text, "-") * 600_000
	}
	return work
}

// folds tells whether upper and lower case may be the same in an expression.
func folds(text string) bool {
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "(?")
		if !found {
			return false
		}
		flags, _, _ := strings.Cut(after, ")")
		flags, _, _ = strings.Cut(flags, ":")
		if strings.Contains(flags, "i") {
			return true
		}
		rest = after
	}
}

// program is how many instructions an expression takes at the most, and how many bounds
// of ranges are in its classes.
func program(re *syntax.Regexp) (size, runes int) {
	size, runes = measureExpression(re)
	return size + 2, runes
}

func measureExpression(re *syntax.Regexp) (size, runes int) {
	inner := 0
	for _, sub := range re.Sub {
		s, r := measureExpression(sub)
		inner, runes = inner+s, runes+r
	}
	switch re.Op {
	case syntax.OpLiteral:
		return max(1, len(re.Rune)), runes
	case syntax.OpCharClass:
		return 1, runes + len(re.Rune)
	case syntax.OpCapture, syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		return inner + 2, runes
	case syntax.OpConcat:
		return max(1, inner), runes
	case syntax.OpAlternate:
		return inner + len(re.Sub), runes
	case syntax.OpRepeat:
		copies := max(re.Min+1, re.Max, 1)
		return copies * (inner + 2), runes
	}
	return 1, runes
}

// reader hands out a text for as long as the budget lasts.
type reader struct {
	b    *budget
	rest string
	step int
	err  error
}

// ReadRune implements io.RuneReader.
func (r *reader) ReadRune() (rune, int, error) {
	if r.rest == "" {
		return 0, 0, io.EOF
	}
	if r.err = r.b.spend(r.step); r.err != nil {
		return 0, 0, r.err
	}
	char, size := utf8.DecodeRuneInString(r.rest)
	r.rest = r.rest[size:]
	return char, size, nil
}

// regexMatch tells whether an expression matches in a text.
func regexMatch(b *budget, text, in string) (bool, error) {
	x, err := b.expression(text, false)
	if err != nil {
		return false, err
	}
	r := &reader{b: b, rest: in, step: x.step}
	matches := x.from.MatchReader(r)
	return matches && r.err == nil, r.err
}

// regexFind returns the first that an expression matches in a text.
func regexFind(b *budget, text, in string) (string, error) {
	x, err := b.expression(text, false)
	if err != nil {
		return "", err
	}
	r := &reader{b: b, rest: in, step: x.step}
	found := x.from.FindReaderIndex(r)
	if r.err != nil || found == nil {
		return "", r.err
	}
	return in[found[0]:found[1]], nil
}

// match finds an expression in a text, from a place on: where it begins and ends, and
// each of its groups.
func (x *expression) match(b *budget, in string, from int) ([]int, error) {
	if from == 0 {
		r := &reader{b: b, rest: in, step: x.step}
		return x.from.FindReaderSubmatchIndex(r), r.err
	}
	_, size := utf8.DecodeLastRuneInString(in[:from])
	r := &reader{b: b, rest: in[from-size:], step: x.step}
	found := x.after.FindReaderSubmatchIndex(r)
	if found == nil || r.err != nil {
		return nil, r.err
	}
	found = found[2:]
	for i := range found {
		if found[i] >= 0 {
			found[i] += from - size
		}
	}
	return found, nil
}

// regexReplaceAll replaces all that an expression matches; ${1} is its first group. It
// is regexp's own, but that each character that it looks at is paid for: with some
// expressions it looks at the rest of the text for each match.
func regexReplaceAll(b *budget, text, in, with string) (string, error) {
	x, err := b.expression(text, true)
	if err != nil {
		return "", err
	}
	var out []byte
	put := func(most int, put func()) error {
		if err := b.hold(most); err != nil {
			return err
		}
		before := len(out)
		put()
		b.release(most, len(out)-before)
		return nil
	}
	groups := strings.Count(with, "$")
	done, at := 0, 0
	for at <= len(in) {
		if err := b.spend(workCall + x.step + len(with)); err != nil {
			return "", err
		}
		found, err := x.match(b, in, at)
		if err != nil {
			return "", err
		}
		if found == nil {
			break
		}
		err = put(found[0]-done+len(with)+groups*(found[1]-found[0]), func() {
			out = append(out, in[done:found[0]]...)
			// Nothing, right after a match, is not another one.
			if found[1] > done || found[0] == 0 {
				out = x.from.ExpandString(out, with, in, found)
			}
		})
		if err != nil {
			return "", err
		}
		done = found[1]
		_, size := utf8.DecodeRuneInString(in[at:])
		at = max(at+max(1, size), found[1])
	}
	err = put(len(in)-done, func() { out = append(out, in[done:]...) })
	return string(out), err
}
