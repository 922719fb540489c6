// SPDX-License-Identifier: Apache-2.0

package template

import (
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// Limits of a regular expression. Each character that it reads takes up to one step for each instruction of its
// program, and a few characters can ask for a program of millions.
const (
	maxPattern      = 256 // bytes
	maxInstructions = 1000
	maxGroups       = 16
)

var (
	errPattern     = errors.New("not a regular expression")
	errPatternSize = errors.New("the regular expression is longer than 256 bytes, or has more than 16 groups or " +
		"1000 instructions")
	errPatternCase = errors.New("the regular expression has ranges without case beyond ASCII")
)

// Ranges in which upper and lower case are the same have each of their characters looked at when they are parsed.
var ignoresCase, beyondASCII = regexp.MustCompile(`\(\?[a-zA-Z]*i`), regexp.MustCompile(`[^\x00-\x7f]|\\x|\\[0-7]`)

// pattern is a compiled regular expression.
type pattern struct {
	// from finds its first match in a text. after finds it in what follows a text's first character, as its group 1.
	from, after *regexp.Regexp
	// step is the work for one character.
	step int
}

// PatternWork is the work of CompilePattern, in bytes. Classes of Unicode have hundreds of ranges.
func PatternWork(text string) int {
	classes := strings.Count(text, `\p`) + strings.Count(text, `\P`)
	return 256*len(text) + 64<<10*classes
}

// CompilePattern compiles a regular expression of a user, within limits. It also returns the number of instructions of
// its program, each of which costs some 256 bytes of work more. Errors do not quote the pattern, which may be data.
func CompilePattern(text string) (re *regexp.Regexp, instructions int, err error) {
	instructions, _, err = parsePattern(text)
	if err != nil {
		return nil, 0, err
	}
	if re, err = regexp.Compile(text); err != nil {
		return nil, 0, errPattern
	}
	return re, instructions, nil
}

// parsePattern returns how many instructions and groups a regular expression has, if they are within the limits.
func parsePattern(text string) (instructions, groups int, err error) {
	switch {
	case len(text) > maxPattern:
		return 0, 0, errPatternSize
	case ignoresCase.MatchString(text) && beyondASCII.MatchString(text) && strings.ContainsAny(text, "[") &&
		strings.Contains(text, "-"):
		return 0, 0, errPatternCase
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return 0, 0, errPattern // the message may hold the data
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, 0, errPattern
	}
	if len(program.Inst) > maxInstructions || parsed.MaxCap() > maxGroups {
		return 0, 0, errPatternSize
	}
	return len(program.Inst), parsed.MaxCap(), nil
}

// compile compiles a regular expression, once in an execution.
func (b *budget) compile(text string) (*pattern, error) {
	if p := b.patterns[text]; p != nil {
		return p, nil
	}
	if len(text) > maxPattern {
		return nil, errPatternSize
	}
	if err := b.spend(PatternWork(text)); err != nil {
		return nil, err
	}
	instructions, groups, err := parsePattern(text)
	if err != nil {
		return nil, err
	}
	if err := b.spend(256 * instructions); err != nil {
		return nil, err
	}
	p := &pattern{step: instructions * (2 + groups/2)}
	if p.from, err = regexp.Compile(text); err != nil {
		return nil, errPattern
	}
	// The character before a match matters to ^ and \b.
	const first = `\A(?s:.)(?s:.*?)(`
	if p.after, err = regexp.Compile(first + text + ")"); err != nil {
		p.after, err = regexp.Compile(first + text + `\E)`) // if a \Q is left open
	}
	if err != nil {
		return nil, errPattern
	}
	if b.patterns == nil {
		b.patterns = map[string]*pattern{}
	}
	b.patterns[text] = p
	return p, nil
}

// reader hands out a text while there is work left: regexp cannot be interrupted otherwise.
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

// find returns where the first match at or after a position begins and ends, and each of its groups.
func (p *pattern) find(b *budget, in string, from int) ([]int, error) {
	re, skipped := p.from, 0
	if from > 0 {
		_, size := utf8.DecodeLastRuneInString(in[:from])
		re, skipped = p.after, from-size
	}
	r := &reader{b: b, rest: in[skipped:], step: p.step}
	found := re.FindReaderSubmatchIndex(r)
	if found == nil || r.err != nil {
		return nil, r.err
	}
	if from > 0 {
		found = found[2:]
	}
	for i := range found {
		if found[i] >= 0 {
			found[i] += skipped
		}
	}
	return found, nil
}

// regexMatch reports whether a pattern matches in a text.
func regexMatch(b *budget, pattern, in string) (bool, error) {
	p, err := b.compile(pattern)
	if err != nil {
		return false, err
	}
	found, err := p.find(b, in, 0)
	return found != nil, err
}

// regexFind returns the first match of a pattern in a text.
func regexFind(b *budget, pattern, in string) (string, error) {
	p, err := b.compile(pattern)
	if err != nil {
		return "", err
	}
	found, err := p.find(b, in, 0)
	if err != nil || found == nil {
		return "", err
	}
	return in[found[0]:found[1]], nil
}

// regexReplaceAll replaces all matches of a pattern; ${1} is the first group. It does what regexp does, but each
// character that is read is counted: for some patterns that is the rest of the text for each match.
func regexReplaceAll(b *budget, pattern, in, with string) (string, error) {
	p, err := b.compile(pattern)
	if err != nil {
		return "", err
	}
	var out []byte
	done := 0
	for at := 0; at <= len(in); {
		found, err := p.find(b, in, at)
		if err != nil {
			return "", err
		}
		if found == nil {
			break
		}
		most := len(with) + strings.Count(with, "$")*(found[1]-found[0])
		if err := b.spend(callWork + most); err != nil {
			return "", err
		}
		if len(out)+most > maxValue {
			return "", errSize
		}
		out = append(out, in[done:found[0]]...)
		// Nothing, right after a match, is not another one.
		if found[1] > done || found[0] == 0 {
			out = p.from.ExpandString(out, with, in, found)
		}
		done = found[1]
		_, size := utf8.DecodeRuneInString(in[at:])
		at = max(at+max(1, size), found[1])
	}
	return string(append(out, in[done:]...)), nil
}

// reReplaceAll is regexReplaceAll in the order of Alertmanager's.
func reReplaceAll(b *budget, pattern, with, in string) (string, error) {
	return regexReplaceAll(b, pattern, in, with)
}
