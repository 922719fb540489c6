// SPDX-License-Identifier: Apache-2.0

package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// options are those of a process.
type options interface {
	Flags(fs *pflag.FlagSet)
	Validate() error
}

// parse parses the arguments and validates the options.
func parse(o options, args []string) error {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	o.Flags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	return o.Validate()
}

// checkError fails unless the error is one line with the text, or nil if that is empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

// newCertDir returns a directory with a certificate and a key.
func newCertDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestOptions(t *testing.T) {
	certs := newCertDir(t)
	tests := map[string]struct {
		args    []string
		wantErr string
	}{
		"the defaults":             {},
		"off":                      {args: []string{"--metrics-bind-address=0", "--pprof-bind-address=0"}},
		"in clear":                 {args: []string{"--metrics-secure=false"}},
		"a certificate":            {args: []string{"--metrics-cert-path", certs}},
		"no certificate":           {args: []string{"--metrics-cert-path", t.TempDir()}, wantErr: "tls.crt"},
		"a certificate, in clear":  {args: []string{"--metrics-secure=false", "--metrics-cert-path", certs}, wantErr: "--metrics-secure"},
		"traces":                   {args: []string{"--otlp-endpoint=https://collector:4318/base", "--trace-sampling-ratio=0.1"}},
		"traces without a scheme":  {args: []string{"--otlp-endpoint=collector:4318"}, wantErr: "--otlp-endpoint"},
		"traces by another scheme": {args: []string{"--otlp-endpoint=grpc://collector:4317"}, wantErr: "--otlp-endpoint"},
		"more than all traces":     {args: []string{"--trace-sampling-ratio=1.1"}, wantErr: "--trace-sampling-ratio"},
		"profiles on loopback":     {args: []string{"--pprof-bind-address=127.0.0.1:6060"}},
		"profiles by name":         {args: []string{"--pprof-bind-address=localhost:6060"}},
		"profiles on IPv6":         {args: []string{"--pprof-bind-address=[::1]:6060"}},
		"profiles for all":         {args: []string{"--pprof-bind-address=:6060"}, wantErr: "loopback"},
		"profiles for others":      {args: []string{"--pprof-bind-address=10.0.0.1:6060"}, wantErr: "loopback"},
		"profiles without a port":  {args: []string{"--pprof-bind-address=127.0.0.1"}, wantErr: "host:port"},
		"fewer requests":           {args: []string{"--db-proxy-max-in-flight=2", "--db-proxy-max-group-in-flight=2"}},
		"no requests":              {args: []string{"--db-proxy-max-in-flight=0"}, wantErr: "--db-proxy-max-in-flight"},
		"too many requests":        {args: []string{"--db-proxy-max-in-flight=1025"}, wantErr: "--db-proxy-max-in-flight"},
		"no group requests":        {args: []string{"--db-proxy-max-group-in-flight=0"}, wantErr: "--db-proxy-max-group-in-flight"},
		"more groups than all":     {args: []string{"--db-proxy-max-in-flight=2", "--db-proxy-max-group-in-flight=3"}, wantErr: "--db-proxy-max-group-in-flight"},
		"profiles at another name": {args: []string{"--pprof-bind-address=example.com:6060"}, wantErr: "loopback"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) { checkError(t, parse(&Options{}, tc.args), tc.wantErr) })
	}
}
