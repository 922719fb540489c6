// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/app/process"
)

// TestMetricsSecure: plain HTTP only on loopback without a certificate.
func TestMetricsSecure(t *testing.T) {
	for _, tc := range []struct {
		address, certs string
		want           bool
	}{
		{":8443", "", true},
		{"0.0.0.0:8443", "", true},
		{"example.com:8443", "", true},
		{"127.0.0.1:8443", "", false},
		{"[::1]:8443", "", false},
		{"127.0.0.1:8443", "/certs", true},
	} {
		if o := (ProcessOptions{Metrics: process.MetricsOptions{BindAddress: tc.address, CertPath: tc.certs}}); o.metricsSecure() != tc.want {
			t.Errorf("at %s with the certificate %q: secure is not %t", tc.address, tc.certs, tc.want)
		}
	}
}
