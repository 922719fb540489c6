// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/internal/receiver/notification"
)

// TestInputCases: what is taken of bodies that other systems post, and what refusals say.
func TestInputCases(t *testing.T) {
	for name, tc := range map[string]struct{ want, wantErr string }{
		"bom":             {want: "🔥 FIRING · critical · DiskFull"},
		"p-annot-number":  {want: "🔥 FIRING · critical · DiskFull\n• high (cluster=prod-eu, instance=db_1:9100), value 93.4, since 2026"},
		"p-ends-emptystr": {want: "✅ RESOLVED · critical · DiskFull\n• Disk of db_1 is 93% full (cluster=prod-eu, instance=db_1:9100), since 2026"},
		"p-array":         {wantErr: "the body is a list, as Prometheus posts alerts to Alertmanager"},
		"p-empty":         {wantErr: "the body is empty"},
		"p-form":          {wantErr: "the body is a form: send JSON"},
		"gbk":             {wantErr: "the body is not UTF-8: send UTF-8, or name its encoding"},
	} {
		t.Run(name, func(t *testing.T) {
			r, body := readCase(t, name)
			previews, _, err := PreviewOf(t.Context(), r, body)
			switch {
			case tc.wantErr != "":
				if err == nil || !strings.HasPrefix(err.Error(), tc.wantErr) {
					t.Errorf("%v, want %s", err, tc.wantErr)
				}
			case err != nil || len(previews) != 1 || previews[0].Fault != nil || !strings.HasPrefix(previews[0].Text, tc.want):
				t.Errorf("%+v, %v, want %s", previews, err, tc.want)
			}
		})
	}
	body, err := os.ReadFile(filepath.Join("testdata", "cases", "gbk", "generic-body.bin"))
	must(t, err)
	decoded, err := notification.Decode(t.Context(), generic(""), body, "application/json; charset=gbk")
	must(t, err)
	if got, fault := rendered(t, generic(""), decoded.Messages[0]); got != "磁盘满" || fault != nil {
		t.Errorf("%q, %v", got, fault)
	}
}
