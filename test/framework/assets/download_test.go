// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// platformDir is setup-envtest's name for the folder of a version on this machine.
func platformDir(version string) string {
	return version + "-" + runtime.GOOS + "-" + runtime.GOARCH
}

// releases serves an index of the versions, whose archives hold programs. The hash of the
// version broken is wrong.
func releases(t *testing.T, programs []string, broken string, list ...string) *httptest.Server {
	t.Helper()
	var archive bytes.Buffer
	zip := gzip.NewWriter(&archive)
	w := tar.NewWriter(zip)
	for _, name := range programs {
		noError(t, w.WriteHeader(&tar.Header{Name: "controller-tools/envtest/" + name, Mode: 0o755, Typeflag: tar.TypeReg}))
	}
	noError(t, errors.Join(w.Close(), zip.Close()))
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	index := "releases:\n"
	for _, version := range list {
		name := fmt.Sprintf("envtest-v%s-%s-%s.tar.gz", version, runtime.GOOS, runtime.GOARCH)
		hash := fmt.Sprintf("%x", sha512.Sum512(archive.Bytes()))
		if version == broken {
			hash = strings.Repeat("0", len(hash))
		}
		index += fmt.Sprintf("  v%s:\n    %s:\n      hash: %s\n      selfLink: %s/%s\n", version, name, hash, server.URL, name)
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(archive.Bytes()) })
	}
	mux.HandleFunc("/index", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, index) })
	return server
}

func TestDownload(t *testing.T) {
	whole := []string{APIServer, Etcd, "kubectl"}
	for name, test := range map[string]struct {
		stored    []string // versions
		published []string // versions
		programs  []string
		broken    string
		want      string // version
		wantErr   string
	}{
		"the wanted version":         {published: []string{"1.37.1", "1.37.2", "1.37.3"}, programs: whole, want: "1.37.2"},
		"else the newest patch":      {published: []string{"1.36.9", "1.37.0", "1.37.1", "1.38.0"}, programs: whole, want: "1.37.1"},
		"stored before published":    {stored: []string{"1.37.0"}, published: []string{"1.37.2"}, programs: whole, want: "1.37.0"},
		"the wanted one of several":  {stored: []string{"1.37.2", "1.37.3", "1.36.0"}, want: "1.37.2"},
		"no such minor version":      {published: []string{"1.36.0"}, wantErr: "no release of 1.37.* for " + runtime.GOOS},
		"an archive that lacks etcd": {published: []string{"1.37.2"}, programs: whole[:1], wantErr: "lacks [etcd]"},
		"a changed archive":          {published: []string{"1.37.2"}, programs: whole, broken: "1.37.2", wantErr: "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			d := download{store: t.TempDir(), index: releases(t, test.programs, test.broken, test.published...).URL + "/index"}
			t.Cleanup(func() { _ = removeReadOnly(d.store) })
			for _, version := range test.stored {
				writePrograms(t, filepath.Join(d.store, "k8s", platformDir(version)), APIServer, Etcd)
			}
			dir, err := d.get(t.Context(), t.Logf, "v1.37.2")
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Fatalf("error %v, want %q", err, test.wantErr)
				}
			} else if want := filepath.Join(d.store, "k8s", platformDir(test.want)); err != nil || dir != want || missing(dir, controlPlanePrograms) != nil {
				t.Fatalf("got %q, %v; want %q", dir, err, want)
			}
			if left, err := filepath.Glob(filepath.Join(d.store, "downloading-*")); err != nil || left != nil {
				t.Errorf("%v is left, %v", left, err)
			}
		})
	}
}

func TestDownloadReplacesAnIncompleteRelease(t *testing.T) {
	d := download{store: t.TempDir(), index: releases(t, []string{APIServer, Etcd}, "", "1.37.2").URL + "/index"}
	t.Cleanup(func() { _ = removeReadOnly(d.store) })
	old := writePrograms(t, filepath.Join(d.store, "k8s", platformDir("1.37.2")), APIServer)
	noError(t, os.Chmod(old, 0o555))
	if dir, err := d.get(t.Context(), t.Logf, "v1.37.2"); err != nil || dir != old || missing(dir, controlPlanePrograms) != nil {
		t.Fatalf("got %q, %v", dir, err)
	}
}

func TestDownloadStalls(t *testing.T) {
	published := releases(t, nil, "", "1.37.2")
	for name, stalled := range map[string]string{"index": "/index", "archive": "/envtest-"} {
		t.Run(name, func(t *testing.T) {
			over := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, stalled) {
					<-over
					return
				}
				index := httptest.NewRecorder()
				published.Config.Handler.ServeHTTP(index, r)
				// The index must point to this server's archives.
				_, _ = w.Write(bytes.ReplaceAll(index.Body.Bytes(), []byte(published.URL), []byte("http://"+r.Host)))
			}))
			defer server.Close()
			defer close(over) // before the server waits for its requests
			d := download{store: t.TempDir(), index: server.URL + "/index", stall: 50 * time.Millisecond}
			if _, err := d.get(t.Context(), t.Logf, "v1.37.2"); !errors.Is(err, errStalled) {
				t.Fatalf("error %v, want %v", err, errStalled)
			}
		})
	}
}

func TestFailedDownloadFallsBackToBuild(t *testing.T) {
	b := &logBuffer{}
	f := newFinder(t, b)
	server := releases(t, nil, "", "1.36.0")
	f.download = download{store: t.TempDir(), index: server.URL + "/index"}
	if dir, err := f.find(t.Context()); err != nil || dir != filepath.Join(f.cache, "key") {
		t.Fatalf("found %q, %v", dir, err)
	}
	want := "kube-apiserver v1.37.2 could not be downloaded, so it is built from source instead: no release of 1.37.*"
	if !strings.Contains(b.text(), want) {
		t.Errorf("logged %q, want %q", b.text(), want)
	}
}
