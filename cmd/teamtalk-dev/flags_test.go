// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestParse(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("abcdefghijklmnopqrstuvwxyz012345\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args       []string
		wantErr    string
		wantKey    string
		wantFaults int
	}{
		"nothing":      {},
		"key":          {args: []string{"--aes-key", "k"}, wantKey: "k"},
		"key file":     {args: []string{"--aes-key-file", key}, wantKey: "abcdefghijklmnopqrstuvwxyz012345"},
		"both keys":    {args: []string{"--aes-key-file", key, "--aes-key", "k"}, wantErr: "exclude"},
		"no key file":  {args: []string{"--aes-key-file", key + "x"}, wantErr: "read the message key"},
		"faults":       {args: []string{"--fault", "kind=drop,count=1", "--fault=kind=late"}, wantFaults: 2},
		"bad fault":    {args: []string{"--fault", "kind=tea"}, wantErr: "want one of"},
		"argument":     {args: []string{"tea"}, wantErr: "unexpected"},
		"unknown flag": {args: []string{"--tea"}, wantErr: "unknown flag"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := parse(test.args, &strings.Builder{})
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got error %v, want one with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(o.AESKey) != test.wantKey || len(o.Faults) != test.wantFaults {
				t.Errorf("got key %q and %d faults, want %q and %d", o.AESKey, len(o.Faults), test.wantKey, test.wantFaults)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parse([]string{"--help"}, &out); !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("got error %v, want %v", err, pflag.ErrHelp)
	}
	for _, want := range []string{"--database", "close-after-store", "/api/faults"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %q", want)
		}
	}
}
