// SPDX-License-Identifier: Apache-2.0

package process

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestCheckVersion(t *testing.T) {
	for name, tc := range map[string]struct {
		answer string
		want   string // in the error; "": none
	}{
		"older":            {`{"gitVersion": "v1.31.14"}`, "runs Kubernetes v1.31.14, and the operator needs 1.32 or later"},
		"first":            {`{"gitVersion": "v1.32.0"}`, ""},
		"of a distributor": {`{"gitVersion": "v1.34.2+k3s1"}`, ""},
		"newer":            {`{"gitVersion": "v1.37.2"}`, ""},
		"no version":       {`{"gitVersion": "main"}`, `has the version "main"`},
		"no answer":        {``, "get the version"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = fmt.Fprint(w, tc.answer)
			}))
			defer server.Close()
			err := checkVersion(&rest.Config{Host: server.URL})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
