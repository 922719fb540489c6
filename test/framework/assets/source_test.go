// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const testGoMod = `module example.com/controlplane

go 1.26.0

require (
	go.etcd.io/etcd/server/v3 v3.7.0
	k8s.io/kubernetes v1.37.2
)
`

func writeSource(t *testing.T, goMod, etcdMain string) string {
	t.Helper()
	dir := writePrograms(t, t.TempDir())
	writePrograms(t, filepath.Join(dir, "etcd"))
	for name, text := range map[string]string{"go.mod": goMod, "etcd/main.go": etcdMain} {
		noError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func TestKey(t *testing.T) {
	keys := map[string]string{}
	for name, test := range map[string]struct{ goMod, etcdMain string }{
		"as it is":           {testGoMod, "package main"},
		"another kubernetes": {strings.Replace(testGoMod, "v1.37.2", "v1.37.3", 1), "package main"},
		"another etcd":       {strings.Replace(testGoMod, "v3.7.0", "v3.7.1", 1), "package main"},
		"another dependency": {testGoMod + "require example.com/a v1.0.0\n", "package main"},
		"another etcd main":  {testGoMod, "package main // changed"},
	} {
		s, err := readSource(writeSource(t, test.goMod, test.etcdMain))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if same, ok := keys[s.key]; ok {
			t.Errorf("%s and %s have the same key %s", name, same, s.key)
		}
		keys[s.key] = name
	}

	first, err := readSource(writeSource(t, testGoMod, "package main"))
	noError(t, err)
	if keys[first.key] != "as it is" {
		t.Errorf("the key %s depends on more than what is built", first.key)
	}
	want := "kubernetes-v1.37.2-etcd-v3.7.0-" + runtime.GOOS + "-" + runtime.GOARCH + "-"
	if !strings.HasPrefix(first.key, want) {
		t.Errorf("key %s, want it to begin with %s", first.key, want)
	}
}

// TestNodeKey checks that the key depends on the version of Kubernetes and not on etcd.
func TestNodeKey(t *testing.T) {
	key := func(goMod, etcdMain string) string {
		s, err := readSource(writeSource(t, goMod, etcdMain))
		noError(t, err)
		return s.nodeKey
	}
	first := key(testGoMod, "package main")
	if first != key(testGoMod, "package main // changed") {
		t.Errorf("the key %s depends on etcd", first)
	}
	if first == key(strings.Replace(testGoMod, "v1.37.2", "v1.37.3", 1), "package main") {
		t.Errorf("another Kubernetes has the same key %s", first)
	}
}

func TestSourceWithoutVersion(t *testing.T) {
	_, err := readSource(writeSource(t, "module m\n", "package main"))
	if err == nil || !strings.Contains(err.Error(), "does not require both k8s.io/kubernetes and go.etcd.io/etcd/server/v3") {
		t.Fatalf("error %v", err)
	}
}

func TestFindSource(t *testing.T) {
	wd, err := os.Getwd()
	noError(t, err)
	root := filepath.Dir(filepath.Dir(filepath.Dir(wd)))
	for _, from := range []string{wd, root, filepath.Join(root, "hack", "controlplane", "etcd")} {
		s, err := findSource(from)
		if err != nil {
			t.Errorf("from %s: %v", from, err)
		}
		if want := filepath.Join(root, "hack", "controlplane"); s.dir != want {
			t.Errorf("from %s: found %s, want %s", from, s.dir, want)
		}
	}
}

func TestFindSourceOutsideCheckout(t *testing.T) {
	dir := t.TempDir()
	_, err := findSource(dir)
	if err == nil || !strings.HasPrefix(err.Error(), "no go.mod of "+mainModule+" in "+dir+" or above: ") || strings.Contains(err.Error(), "\n") {
		t.Fatalf("error %v", err)
	}
}

func TestBuildArgsStampVersion(t *testing.T) {
	args := strings.Join(buildArgs(source{kubernetes: "v1.37.2"}), " ")
	for _, want := range []string{
		"-X k8s.io/component-base/version.gitVersion=v1.37.2 ",
		"-X k8s.io/component-base/version.gitMajor=1 ",
		"-X k8s.io/component-base/version.gitMinor=37 ",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("%s lacks %s", args, want)
		}
	}
}
