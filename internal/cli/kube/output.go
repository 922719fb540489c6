// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// Formats of Output.
const (
	formatJSON, formatYAML, formatName, formatWide = "json", "yaml", "name", "wide"
)

// Formats that commands offer.
var (
	// ObjectFormats are those of commands that print objects of the cluster.
	ObjectFormats = []string{formatJSON, formatYAML, formatName}
	// TableFormats are those of commands that print a table of objects.
	TableFormats = []string{formatJSON, formatYAML, formatName, formatWide}
	// DataFormats are those of commands that print what is not in the cluster.
	DataFormats = []string{formatJSON, formatYAML, formatWide}
	// ReportFormats are those of commands that print the results of checks.
	ReportFormats = []string{formatJSON, formatYAML}
)

// Output is the flag --output.
type Output struct {
	format  string
	formats []string
}

// AddFlag adds the flag, which permits the formats.
func (o *Output) AddFlag(c *cobra.Command, formats []string) {
	o.formats = formats
	list := strings.Join(formats, "|")
	c.Flags().StringVarP(&o.format, "output", "o", "", "output `format`: "+list)
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return formats, cobra.ShellCompDirectiveNoFileComp
	}
	_ = c.RegisterFlagCompletionFunc("output", complete) // it fails only for a flag that does not exist
}

// Validate returns the usage error of the flag.
func (o *Output) Validate() error {
	if o.format == "" || slices.Contains(o.formats, o.format) {
		return nil
	}
	return Usagef("-o %s is not a format: use one of %s", o.format, strings.Join(o.formats, ", "))
}

// IsTable reports whether the output is a table, or text.
func (o *Output) IsTable() bool { return o.format == "" || o.format == formatWide }

// IsWide reports whether a table shows all columns.
func (o *Output) IsWide() bool { return o.format == formatWide }

// IsName reports whether names are printed, and nothing else.
func (o *Output) IsName() bool { return o.format == formatName }

// PrintObject prints an object of the cluster as kubectl does. An operation, such as "created", follows the name where
// no format is set.
func (o *Output) PrintObject(w io.Writer, object runtime.Object, operation string) error {
	flags := genericclioptions.NewPrintFlags(operation).WithTypeSetter(Scheme)
	if o.format != "" {
		flags.OutputFormat = &o.format
	}
	printer, err := flags.ToPrinter()
	if err != nil {
		return err
	}
	if o.IsName() && meta.IsListType(object) { // the printer refuses lists
		return meta.EachListItem(object, func(item runtime.Object) error { return printer.PrintObj(item, w) })
	}
	return printer.PrintObj(object, w)
}

// PrintData prints what is not in the cluster as JSON or YAML.
func (o *Output) PrintData(w io.Writer, data any) error {
	if o.format == formatYAML {
		b, err := yaml.Marshal(data)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "    ")
	e.SetEscapeHTML(false)
	return e.Encode(data)
}

// Table prints rows in columns.
type Table struct {
	Header []string
	Rows   [][]string
	// tabs remembers the widths of columns after the first Print.
	tabs interface {
		io.Writer
		Flush() error
	}
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Print writes the header, if it is the first time, and the rows that were added since the last time. Cells hold no
// control characters: what TeamTalk returns could control the terminal.
func (t *Table) Print(w io.Writer) error {
	rows := t.Rows
	if t.tabs == nil {
		t.tabs = printers.GetNewTabWriter(w)
		rows = append([][]string{t.Header}, rows...)
	}
	t.Rows = nil
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Printable(cell)
		}
		if _, err := fmt.Fprintln(t.tabs, strings.TrimRight(strings.Join(cells, "\t"), "\t")); err != nil {
			return err
		}
	}
	return t.tabs.Flush()
}

// Count is a number of things, whose plural ends in s.
func Count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Shorten cuts a text that others have written to a length that fits into an error.
func Shorten(text string) string {
	const most = 200 // characters
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "..."
	}
	return text
}

// Printable replaces control characters by escapes, so that a text is one line and does not control the terminal.
func Printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= 0x7F && r < 0xA0 || r == '\u2028' || r == '\u2029' || r >= '\u202A' && r <= '\u202E' ||
			r >= '\u2066' && r <= '\u2069':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
