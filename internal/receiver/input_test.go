// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

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
		"p-form":          {wantErr: "the body is a form: have it sent as JSON"},
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

// TestSecretsEndInNewlines: callers have the Secret's value with or without a newline at its end.
func TestSecretsEndInNewlines(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("testdata", "cases", "hmac-newline", "secret.yaml"))
	must(t, err)
	secret := &corev1.Secret{}
	must(t, yaml.UnmarshalStrict(content, secret))
	key := secret.StringData["token"]
	if key != "s3cret\n" {
		t.Fatalf("%q", key)
	}
	const body = `{"message":"h2"}`
	signed := func(key string) string {
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	for caller, known := range map[string]bool{"s3cret": true, "s3cret\n": true, "s3cret ": false, "secret": false, "": false} {
		for _, stored := range []string{key, "s3cret", "s3cret\r\n"} {
			if caller == "s3cret\n" && stored != key {
				continue // the Secret does not have it
			}
			if err := checkSignature(signed(caller), []byte(body), []byte(stored)); (err == nil) != known {
				t.Errorf("signed with %q, stored %q: %v", caller, stored, err)
			}
		}
		if err := checkToken("Bearer "+caller, []byte(key)); (err == nil) != (strings.TrimSpace(caller) == "s3cret") {
			t.Errorf("token %q: %v", caller, err)
		}
	}
}

// TestUnauthenticatedCallersAreToldTheForms: what a receiver may ask for, and the same for all of them.
func TestUnauthenticatedCallersAreToldTheForms(t *testing.T) {
	a := (&Handler{}).refused(types.NamespacedName{Namespace: "chat", Name: "alerts"}, ErrUnauthenticated)
	for _, want := range []string{"Authorization: Bearer TOKEN", "X-Signature: sha256="} {
		if a.code != http.StatusUnauthorized || !strings.Contains(a.Error, want) || strings.Contains(a.Error, "alerts") {
			t.Errorf("%d %s", a.code, a.Error)
		}
	}
}
