// SPDX-License-Identifier: Apache-2.0

package install

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hasPlugins reports whether a folder has the CNI plugins that a node needs.
func hasPlugins(dir string) bool {
	for _, plugin := range []string{"bridge", "host-local", "loopback"} {
		if _, err := os.Stat(filepath.Join(dir, plugin)); err != nil {
			return false
		}
	}
	return true
}

// writeScript writes a shell script. It names its interpreter in full, so that it runs with any PATH.
func writeScript(t *testing.T, dir, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o700))
}

// runIn runs a program with dir as its whole PATH. It returns the exit code and the output.
func runIn(t *testing.T, dir string, env []string, name string, args ...string) (code int, output string) {
	t.Helper()
	path, err := exec.LookPath(name)
	must(t, err)
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = shared.root
	cmd.Env = append(env, "PATH="+dir, "SSL_CERT_FILE="+filepath.Join(dir, "certificates"))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(out)
	}
	must(t, err)
	return 0, string(out)
}

// TestRequirements checks hack/requirements on machines that have only the programs named.
func TestRequirements(t *testing.T) {
	t.Parallel()
	const certificates = "make test needs CA certificates: run \"apt-get install ca-certificates\" as root, or what your system has for it\n"
	const prometheus = "make test needs prometheus: run \"apt-get install prometheus\" as root, or what your system has for it\n"
	const tools = "id apt-get certificates"
	// The plugins are not in the PATH, so what the script reports depends on the machine.
	nodePackages, nodeOutput, nodeCode := "ca-certificates containerd runc iptables iproute2 mount curl openssl", "", 0
	if !slices.ContainsFunc([]string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}, hasPlugins) {
		nodePackages, nodeCode = nodePackages+" containernetworking-plugins", 1
		nodeOutput = "make e2e needs the CNI plugins bridge, host-local and loopback: " +
			"run \"apt-get install containernetworking-plugins\" as root, or what your system has for it\n"
	}
	for what, tc := range map[string]struct {
		target  string
		have    string // programs; "id" makes the user root, "apt-get" installs what is asked for
		env     []string
		want    string // output
		code    int    // exit code
		apt     string // packages installed
		aptFail bool   // apt-get fails
	}{
		"an empty PATH":               {target: "test", want: certificates + prometheus, code: 1},
		"root without apt-get":        {target: "test", have: "id", want: certificates + prometheus, code: 1},
		"apt-get without root":        {target: "test", have: "apt-get certificates", want: prometheus, code: 1},
		"promtool is missing":         {target: "test", have: "certificates prometheus", want: strings.Replace(prometheus, "needs prometheus", "needs promtool", 1), code: 1},
		"everything":                  {target: "test", have: tools + " prometheus promtool gcc"},
		"everything but a compiler":   {target: "test", have: "certificates prometheus promtool"},
		"root installs everything":    {target: "test", have: "id apt-get", apt: "ca-certificates prometheus gcc libc6-dev"},
		"root installs a compiler":    {target: "test", have: tools + " prometheus promtool", apt: "gcc libc6-dev"},
		"the installation fails":      {target: "test", have: tools + " gcc", apt: "prometheus", aptFail: true, want: prometheus, code: 1},
		"root installs for a node":    {target: "e2e", have: "id apt-get", apt: nodePackages, want: nodeOutput, code: nodeCode},
		"a node needs root":           {target: "e2e", have: "apt-get", code: 1, want: "make e2e needs root: run \"sudo make e2e\", or set CLUSTER=current to use your own cluster\n"},
		"a cluster of the user's own": {target: "e2e", env: []string{"CLUSTER=current"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for name := range strings.FieldsSeq(tc.have) {
				text := ""
				switch name {
				case "id":
					text = "echo 0\n"
				case "apt-get":
					text = "echo \"$@\" >>\"$PATH/apt\"\n"
					if tc.aptFail {
						text += "exit 100\n"
					} else {
						text += `if [ "$1" = install ]; then
	for f in certificates prometheus promtool containerd ctr containerd-shim-runc-v2 runc iptables iptables-restore ip mount curl openssl; do
		echo x >"$PATH/$f"; /bin/chmod 755 "$PATH/$f"
	done
fi
`
					}
				}
				writeScript(t, dir, name, text)
			}
			code, output := runIn(t, dir, tc.env, "bash", "hack/requirements", tc.target)
			want := tc.want
			var wantCalls, calls string
			if tc.apt != "" {
				want = "make " + tc.target + ": installing " + tc.apt + "\n" + want
				wantCalls = "update -q\n"
				if !tc.aptFail {
					wantCalls += "install -yq --no-install-recommends " + tc.apt + "\n"
				}
			}
			if called, err := os.ReadFile(filepath.Join(dir, "apt")); err == nil {
				calls = string(called)
			}
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if diff := cmp.Diff(want, output); diff != "" {
				t.Errorf("output: %s", diff)
			}
			if diff := cmp.Diff(wantCalls, calls); diff != "" {
				t.Errorf("calls of apt-get: %s", diff)
			}
		})
	}
}

// TestMakeChecksRequirementsFirst checks that make compiles nothing if a program is missing.
func TestMakeChecksRequirementsFirst(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{"test": "make test needs prometheus: run ", "e2e": "make e2e needs root: run "} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			bash, err := exec.LookPath("bash")
			must(t, err)
			must(t, os.Symlink(bash, filepath.Join(dir, "bash"))) // the script's interpreter
			writeScript(t, dir, "go", "echo \"$@\" >\"$PATH/compiled\"\n")
			code, output := runIn(t, dir, nil, "make", target)
			if code == 0 || !strings.Contains(output, want) {
				t.Errorf("exit code %d, output %q, want %q", code, output, want)
			}
			if called, err := os.ReadFile(filepath.Join(dir, "compiled")); err == nil {
				t.Errorf("make called go %s", called)
			}
		})
	}
}
