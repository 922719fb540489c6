package main

import (
	"strings"
	"testing"
)

func TestComplete(t *testing.T) {
	const program = `"metadata": {"component": {"name": "p"}}`
	tests := map[string]struct {
		bom     string
		want    []string
		wantErr string
	}{
		"what is in no module": {
			bom: `{` + program + `, "specVersion": "1.6", "components": [{"name": "std", "version": "go1"}, {"name": "m", "purl": "a&b", "evidence": {"licenses": [{"license": {"id": "MIT"}}]}}]}`,
			want: []string{
				`"licenses":[{"license":{"id":"Apache-2.0"}}],"name":"p"`, `"licenses":[{"license":{"id":"BSD-3-Clause"}}],"name":"std"`,
				`"id":"MIT"`, `"purl":"a&b"`, `"specVersion":"1.6"`,
			},
		},
		"one without":   {bom: `{` + program + `, "components": [{"name": "m", "version": "v1"}]}`, wantErr: "m v1"},
		"nothing":       {bom: `{` + program + `}`, wantErr: "nothing"},
		"of no program": {bom: `{}`, wantErr: "which program"},
		"no JSON":       {bom: `-`, wantErr: "invalid"},
	}
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			out, err := complete([]byte(tc.bom))
			if (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Fatalf("%v, want %q", err, tc.wantErr)
			}
			for _, want := range tc.want {
				if !strings.Contains(strings.Join(strings.Fields(string(out)), ""), want) {
					t.Errorf("%s is not in %s", want, out)
				}
			}
		})
	}
}
