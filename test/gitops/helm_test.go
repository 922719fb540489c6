// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// chart copies the sample's chart with another appVersion, and another template if edit is set.
func (x *tenant) chart(appVersion string, edit *strings.Replacer) string {
	x.Helper()
	dir := x.TempDir()
	x.Must(os.CopyFS(dir, os.DirFS(filepath.Join(shared.Root, "config", "samples", "gitops", "helm"))))
	replace := func(file string, r *strings.Replacer) {
		path := filepath.Join(dir, file)
		before, err := os.ReadFile(path)
		x.Must(err)
		x.Must(os.WriteFile(path, []byte(r.Replace(string(before))), 0o600))
	}
	replace("Chart.yaml", strings.NewReplacer("appVersion: 1.4.0", "appVersion: "+appVersion))
	if edit != nil {
		replace(filepath.Join("templates", "announcement.yaml"), edit)
	}
	return dir
}

func (x *tenant) users() string { return fmt.Sprintf("announcement.users={%d}", x.Alice) }

// TestHelmHook installs, upgrades and rolls back the sample's chart.
func TestHelmHook(t *testing.T) {
	t.Parallel()
	const first, second = "app 1.4.0 is deployed", "app 1.5.0 is deployed"
	key := `  idempotencyKey: {{ printf "%s-%s" .Release.Name .Chart.AppVersion | quote }}`
	for name, tc := range map[string]struct {
		edit *strings.Replacer
		want []string
	}{
		"sample":        {want: []string{first, second}},
		"without a key": {edit: strings.NewReplacer(key, ""), want: []string{first, first, second, first}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTenantWithServer(t)
			old, upgraded := x.chart("1.4.0", tc.edit), x.chart("1.5.0", tc.edit)
			message := &v1alpha1.TeamTalkMessage{ObjectMeta: x.Named("app-announcement")}
			for _, args := range [][]string{
				{"install", "app", old}, {"upgrade", "app", old}, {"upgrade", "app", upgraded},
				{"rollback", "app", "1"}, {"upgrade", "app", old},
			} {
				if args[0] != "rollback" {
					args = append(args, "--set", x.users())
				}
				x.helm(args...)
				x.AwaitDelivered(message)
			}
			x.checkTexts(tc.want...)
			// helm does not delete hooks with their release.
			x.helm("uninstall", "app")
			x.AwaitDelivered(message)
			x.checkTexts(tc.want...)
		})
	}
}

// TestHelmHookSucceeded: helm takes a message for a success once it exists.
func TestHelmHookSucceeded(t *testing.T) {
	t.Parallel()
	x := newTenant(t)
	x.helm("install", "app", x.chart("1.4.0", strings.NewReplacer("before-hook-creation", "hook-succeeded")), "--set", x.users())
	if left := x.Messages(); len(left) != 0 {
		t.Errorf("there are messages: %+v", left)
	}
	x.CreateServer()
	x.Deliver("canary", "canary")
	x.checkTexts("canary")
}
