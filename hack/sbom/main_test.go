// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestAddLicenses(t *testing.T) {
	const program = `"metadata": {"component": {"name": "p"}}`
	tests := map[string]struct {
		bom     string
		want    []string
		wantErr string
	}{
		"Go and the project": {
			bom: `{` + program + `, "specVersion": "1.6", "components": [{"name": "std", "version": "go1"}, {"name": "m", "purl": "a&b", "evidence": {"licenses": [{"license": {"id": "MIT"}}]}}]}`,
			want: []string{
				`"licenses":[{"license":{"id":"Apache-2.0"}}],"name":"p"`, `"licenses":[{"license":{"id":"BSD-3-Clause"}}],"name":"std"`,
				`"id":"MIT"`, `"purl":"a&b"`, `"specVersion":"1.6"`,
			},
		},
		"no licence":    {bom: `{` + program + `, "components": [{"name": "m", "version": "v1"}]}`, wantErr: "m v1"},
		"no components": {bom: `{` + program + `}`, wantErr: "no components"},
		"no program":    {bom: `{}`, wantErr: "program is missing"},
		"no JSON":       {bom: `-`, wantErr: "invalid"},
	}
	for what, tc := range tests {
		t.Run(what, func(t *testing.T) {
			out, err := addLicenses([]byte(tc.bom))
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
