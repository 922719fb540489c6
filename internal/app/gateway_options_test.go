// SPDX-License-Identifier: Apache-2.0

package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
)

// options are those of both commands.
type options interface {
	Flags(fs *pflag.FlagSet)
	Validate() error
}

// TestGatewayOptions: both commands have the same flags with different prefixes, and errors name the flag
// that was given.
func TestGatewayOptions(t *testing.T) {
	certs := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(certs, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		args []string
		// wantErr is what the error names; "": none.
		wantErr string
		// alone: for the gateway that stands alone. never: the operator has no such flag.
		alone, never bool
	}{
		"an address":                  {args: []string{"--bind-address=:8400"}},
		"no authentication, loopback": {args: []string{"--bind-address=127.0.0.1:8400", "--auth=None"}},
		"no authentication, open":     {args: []string{"--bind-address=:8400", "--auth=None"}, wantErr: "loopback"},
		"no authentication, app keys": {args: []string{"--bind-address=127.0.0.1:1", "--auth=None", "--app-keys-secret=x"}, wantErr: "--app-keys-secret"},
		"an unknown authentication":   {args: []string{"--bind-address=:8400", "--auth=Basic"}, wantErr: "--auth"},
		"no namespace":                {args: []string{"--bind-address=:8400", "--namespace="}, wantErr: "--namespace"},
		"too long a wait":             {args: []string{"--bind-address=:8400", "--wait=9s"}, wantErr: "--wait"},
		"too short a TTL":             {args: []string{"--bind-address=:8400", "--message-ttl=1ms"}, wantErr: "--message-ttl"},
		"no port":                     {args: []string{"--bind-address=localhost"}, wantErr: "--bind-address"},
		"a certificate without a key": {args: []string{"--bind-address=:8400", "--tls-cert-file=x"}, wantErr: "--tls-key-file"},
		"nothing in flight":           {args: []string{"--bind-address=:8400", "--max-in-flight=0"}, wantErr: "--max-in-flight"},
		"one caller's":                {args: []string{"--bind-address=:8400", "--max-in-flight=8", "--max-in-flight-per-caller=8"}},
		"one caller's beyond all":     {args: []string{"--bind-address=:8400", "--max-in-flight=8", "--max-in-flight-per-caller=9"}, wantErr: "--max-in-flight-per-caller"},
		"an unknown mode":             {args: []string{"--mode=both"}, wantErr: "--mode", alone: true, never: true},
		"direct":                      {args: []string{"--mode=direct"}, alone: true, never: true},
		"its own time to drain":       {args: []string{"--drain-timeout=0s"}, wantErr: "--drain-timeout", alone: true},
		"metrics with a certificate":  {args: []string{"--metrics-bind-address=:8443", "--metrics-cert-path=" + certs}, alone: true},
		"metrics without one":         {args: []string{"--metrics-bind-address=:8443", "--metrics-cert-path=" + t.TempDir()}, wantErr: "tls.crt", alone: true},
		"a certificate for nothing":   {args: []string{"--metrics-cert-path=" + certs}, wantErr: "does nothing without --metrics-bind-address", alone: true},
		"flags of what is off":        {args: []string{"--wait=1s"}, wantErr: "does nothing without --bind-address"},
		"nothing":                     {},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			for prefix, o := range map[string]options{"": &gateway.ProcessOptions{}, gatewayPrefix: &Options{}} {
				if tc.alone && prefix != "" && !tc.never || name == "flags of what is off" && prefix == "" {
					continue
				}
				args, wantErr := make([]string, len(tc.args)), strings.ReplaceAll(tc.wantErr, "--", "--"+prefix)
				for i, a := range tc.args {
					args[i] = strings.Replace(a, "--", "--"+prefix, 1)
				}
				fs := pflag.NewFlagSet("", pflag.ContinueOnError)
				o.Flags(fs)
				err := fs.Parse(args)
				if tc.never && prefix != "" {
					if err == nil {
						t.Errorf("%v is taken", args)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				err = o.Validate()
				if wantErr == "" && err != nil || wantErr != "" && (err == nil || !strings.Contains(err.Error(), wantErr) || strings.Contains(err.Error(), "\n")) {
					t.Errorf("%v: %v, want %q", args, err, wantErr)
				}
			}
		})
	}
}
