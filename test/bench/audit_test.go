// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const auditLines = `{"verb":"patch","user":{"username":"teamtalk-operator"},"requestURI":"/apis/teamtalk.io/v1alpha1/namespaces/bench/teamtalkmessages/a/status","objectRef":{"resource":"teamtalkmessages","namespace":"bench","name":"a","subresource":"status"},"responseStatus":{"code":200}}
{"verb":"patch","user":{"username":"teamtalk-operator"},"objectRef":{"resource":"teamtalkmessages","name":"a","subresource":"status"},"responseStatus":{"code":409}}
{"verb":"update","user":{"username":"teamtalk-operator"},"objectRef":{"resource":"leases","name":"teamtalk-operator"},"responseStatus":{"code":200}}
{"verb":"watch","user":{"username":"teamtalk-operator"},"objectRef":{"resource":"teamtalkmessages"},"responseStatus":{"code":200}}
{"verb":"patch","user":{"username":"bare-client"},"objectRef":{"resource":"teamtalkmessages","name":"b","subresource":"status"},"responseStatus":{"code":200}}
{"verb":"get","user":{"username":"teamtalk-operator"},"requestURI":"/readyz?verbose","responseStatus":{"code":200}}
{"verb":"create","user":{"username":"teamtalk-op`

// TestReadAudit checks which requests are counted: all requests of the operator except watches, including refused
// ones, on complete lines.
func TestReadAudit(t *testing.T) {
	requests := readAudit(strings.NewReader(auditLines))
	writes := 0
	for _, q := range requests {
		if q.statusWrite() {
			writes++
		}
	}
	if len(requests) != 4 || writes != 2 {
		t.Errorf("%d requests and %d status writes, want 4 and 2", len(requests), writes)
	}
	const want = "2 patch teamtalkmessages/status, "
	if got := tally(requests); !strings.HasPrefix(got, want) || !strings.Contains(got, "1 get /readyz") {
		t.Errorf("tally %q", got)
	}
	if tally(nil) != "none" {
		t.Error("nothing is not none")
	}
}

// TestAuditLogEnd checks that a position is between lines, whatever is being written.
func TestAuditLogEnd(t *testing.T) {
	whole := auditLines[:strings.LastIndexByte(auditLines, '\n')+1]
	for name, test := range map[string]struct {
		log  string
		want int
	}{
		"nothing":            {"", 0},
		"whole lines":        {whole, len(whole)},
		"a line half done":   {auditLines, len(whole)},
		"more than one read": {strings.Repeat(whole, 100) + "{", 100 * len(whole)},
	} {
		t.Run(name, func(t *testing.T) {
			log := &auditLog{path: filepath.Join(t.TempDir(), "audit.log")}
			noError(t, os.WriteFile(log.path, []byte(test.log), 0o600))
			if end := log.end(); end != int64(test.want) {
				t.Errorf("%d, want %d", end, test.want)
			}
		})
	}
}
