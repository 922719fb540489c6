// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOverlay(t *testing.T) {
	const source = "package a\n\nfunc f() {\n\tg(1)\n\tg(2)\n\th()\n\th()\n}\n"
	for name, tc := range map[string]struct{ patch, want, wantErr string }{
		"replace, whatever the indentation": {
			patch: "@@ a\n-g(1)\n+\tg(3)\n", want: strings.Replace(source, "g(1)", "g(3)", 1),
		},
		"insert between lines": {
			patch: "@@ a\n \tg(1)\n+\tg(3)\n \tg(2)\n", want: strings.Replace(source, "g(2)", "g(3)\n\tg(2)", 1),
		},
		"two hunks in one file": {
			patch: "@@ a\n-g(1)\n+\tg(3)\n@@ a\n-g(2)\n+\tg(4)\n",
			want:  strings.NewReplacer("g(1)", "g(3)", "g(2)", "g(4)").Replace(source),
		},
		"lines that do not occur":  {patch: "@@ a\n-g(3)\n", wantErr: "found 0"},
		"lines that occur twice":   {patch: "@@ a\n-h()\n", wantErr: "found 2"},
		"nothing to search for":    {patch: "@@ a\n+\tg(3)\n", wantErr: "found 0"},
		"a directory that is gone": {patch: "@@ b\n-g(1)\n", wantErr: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			root, dir := t.TempDir(), t.TempDir()
			file := filepath.Join(root, "a", "sub", "a.go")
			write(t, file, source)
			write(t, filepath.Join(root, "a", "a_test.go"), source) // is not searched
			m, err := parse("What it is.\nscenario: x\n" + tc.patch)
			noError(t, err)
			overlay, err := m.Overlay(root, dir)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("err = %v, want %q", err, tc.wantErr)
				}
				return
			}
			noError(t, err)
			var got struct{ Replace map[string]string }
			if err := json.Unmarshal([]byte(readFile(t, overlay)), &got); err != nil || len(got.Replace) != 1 {
				t.Fatalf("overlay %+v, %v", got, err)
			}
			if got := readFile(t, got.Replace[file]); got != tc.want {
				t.Errorf("patched:\n%s\nwant:\n%s", got, tc.want)
			}
		})
	}
}

func TestParse(t *testing.T) {
	for name, patch := range map[string]string{
		"no scenario":           "What it is.\n@@ a\n-x\n",
		"a package alone":       "What it is.\ntest: ./a\n@@ a\n-x\n",
		"no hunk":               "What it is.\nscenario: x\n",
		"a line without a sign": "What it is.\nscenario: x\n@@ a\nx\n",
		"lines before a hunk":   "What it is.\nscenario: x\n-x\n",
	} {
		if m, err := parse(patch); err == nil {
			t.Errorf("%s: parse() = %+v, want an error", name, m)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	noError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	noError(t, os.WriteFile(file, []byte(content), 0o600))
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	noError(t, err)
	return string(content)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
