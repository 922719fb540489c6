// SPDX-License-Identifier: Apache-2.0

package app

import (
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/gateway"
)

// TestGatewayOptions: both processes have the same flags with different prefixes, and errors name the flag that was
// given.
func TestGatewayOptions(t *testing.T) {
	certs := newCertDir(t)
	tests := map[string]struct {
		args    []string
		wantErr string
		// gatewayOnly and operatorOnly say which process has the flags.
		gatewayOnly, operatorOnly bool
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
		"not a port":                  {args: []string{"--bind-address=127.0.0.1:http2"}, wantErr: "--bind-address"},
		"too high a port":             {args: []string{"--bind-address=:65536"}, wantErr: "--bind-address"},
		"a certificate without a key": {args: []string{"--bind-address=:8400", "--tls-cert-file=x"}, wantErr: "--tls-key-file"},
		"nothing in flight":           {args: []string{"--bind-address=:8400", "--max-in-flight=0"}, wantErr: "--max-in-flight"},
		"one caller's":                {args: []string{"--bind-address=:8400", "--max-in-flight=8", "--max-in-flight-per-caller=8"}},
		"one caller's beyond all":     {args: []string{"--bind-address=:8400", "--max-in-flight=8", "--max-in-flight-per-caller=9"}, wantErr: "--max-in-flight-per-caller"},
		"an unknown mode":             {args: []string{"--mode=both"}, wantErr: "--mode", gatewayOnly: true},
		"direct":                      {args: []string{"--mode=direct"}, gatewayOnly: true},
		"limits of db_proxy":          {args: []string{"--mode=direct", "--db-proxy-max-in-flight=8", "--db-proxy-max-group-in-flight=2"}, gatewayOnly: true},
		"too low limits of db_proxy":  {args: []string{"--mode=direct", "--db-proxy-max-in-flight=0"}, wantErr: "--db-proxy-max-in-flight", gatewayOnly: true},
		"limits without direct mode":  {args: []string{"--db-proxy-max-group-in-flight=2"}, wantErr: "requires --mode=direct", gatewayOnly: true},
		"its own time to drain":       {args: []string{"--drain-timeout=0s"}, wantErr: "--drain-timeout", gatewayOnly: true},
		"metrics with a certificate":  {args: []string{"--metrics-bind-address=:8443", "--metrics-cert-path=" + certs}, gatewayOnly: true},
		"metrics without one":         {args: []string{"--metrics-bind-address=:8443", "--metrics-cert-path=" + t.TempDir()}, wantErr: "tls.crt", gatewayOnly: true},
		"a certificate for nothing":   {args: []string{"--metrics-cert-path=" + certs}, wantErr: "requires --metrics-bind-address", gatewayOnly: true},
		"flags of what is off":        {args: []string{"--wait=1s"}, wantErr: "requires --bind-address", operatorOnly: true},
		"nothing":                     {},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if !tc.operatorOnly {
				checkError(t, parse(&gateway.ProcessOptions{}, tc.args), tc.wantErr)
			}
			args, wantErr := make([]string, len(tc.args)), strings.ReplaceAll(tc.wantErr, "--", "--"+gatewayPrefix)
			for i, a := range tc.args {
				args[i] = strings.Replace(a, "--", "--"+gatewayPrefix, 1)
			}
			if tc.gatewayOnly {
				wantErr = "unknown flag"
			}
			checkError(t, parse(&Options{}, args), wantErr)
		})
	}
}

// TestGatewayMetricsSecure: the gateway serves plain /metrics only on loopback without a certificate.
func TestGatewayMetricsSecure(t *testing.T) {
	certs := newCertDir(t)
	for _, tc := range []struct {
		address, certs string
		want           bool
	}{
		{":8443", "", true},
		{"127.0.0.1:8443", "", false},
		{"127.0.0.1:8443", certs, true},
	} {
		var o gateway.ProcessOptions
		err := parse(&o, []string{"--metrics-bind-address", tc.address, "--metrics-cert-path", tc.certs})
		if err != nil || o.Metrics.Secure != tc.want {
			t.Errorf("at %s with the certificate %q: secure is %t, %v", tc.address, tc.certs, o.Metrics.Secure, err)
		}
	}
}
