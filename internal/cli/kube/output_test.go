// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestPrintable(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"text":             {"zhang 张三 🔥", "zhang 张三 🔥"},
		"lines":            {"a\nb\tc", `a\nb\tc`},
		"an escape":        {"\x1b[31mred", `\u001b[31mred`},
		"a C1 control":     {"a\u009bb", `a\u009bb`},
		"another way":      {"a\u202eb\u2066c\u2028d", `a\u202eb\u2066c\u2028d`},
		"what is no UTF-8": {"a\xffb", "a\ufffdb"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Printable(tc.text); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestTable(t *testing.T) {
	table := &Table{Header: []string{"ID", "NAME", "REASON"}}
	table.Add("1", "a\x1bb", "")
	var out bytes.Buffer
	if err := table.Print(&out); err != nil {
		t.Fatal(err)
	}
	if want := "ID    NAME   REASON\n1     a\\u001bb\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

func TestParseServer(t *testing.T) {
	tests := map[string]struct {
		want    types.NamespacedName
		wantErr bool
	}{
		"default":      {want: types.NamespacedName{Name: "default"}},
		"chat/default": {want: types.NamespacedName{Namespace: "chat", Name: "default"}},
		"":             {wantErr: true},
		"chat/":        {wantErr: true},
		"/default":     {wantErr: true},
		"a/b/c":        {wantErr: true},
	}
	for text, tc := range tests {
		t.Run(text, func(t *testing.T) {
			got, err := ParseServer(text)
			if got != tc.want || (err != nil) != tc.wantErr || tc.wantErr && Code(err) != CodeUsage {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

func TestCode(t *testing.T) {
	tests := map[string]struct {
		err  error
		want int
	}{
		"none":      {nil, 0},
		"any":       {errors.New("x"), CodeError},
		"usage":     {Usagef("x"), CodeUsage},
		"inside":    {fmt.Errorf("a: %w", Errorf(CodeInProgress, "x")), CodeInProgress},
		"delivered": {Errorf(CodeNotDelivered, "x"), CodeNotDelivered},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Code(tc.err); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

func TestMessageName(t *testing.T) {
	tests := map[string]struct {
		want    string
		wantErr bool
	}{
		"hello":                             {want: "hello"},
		"ttm/hello":                         {want: "hello"},
		"teamtalkmessage.teamtalk.io/hello": {want: "hello"},
		"TeamTalkMessages/hello":            {want: "hello"},
		"tts/default":                       {wantErr: true},
		"ttm/":                              {wantErr: true},
	}
	for arg, tc := range tests {
		t.Run(arg, func(t *testing.T) {
			got, err := MessageName(arg)
			if got != tc.want || (err != nil) != tc.wantErr || tc.wantErr && Code(err) != CodeUsage {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
