// SPDX-License-Identifier: Apache-2.0

package assets

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/mod/semver"

	"github.com/teamtalk-io/teamtalk-operator/test/framework/gobuild"
)

var (
	controlPlanePrograms = []string{APIServer, Etcd}
	nodePrograms         = []string{"kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler"}
)

func buildControlPlane(ctx context.Context, log Logf, s source, dir string) error {
	what := fmt.Sprintf("%s %s and %s %s", APIServer, s.kubernetes, Etcd, s.etcd)
	err := build(ctx, log, s, dir, what, kubernetesModule+"/cmd/"+APIServer, "./"+Etcd)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w, or set %s to a folder with %s and %s", err, variable, APIServer, Etcd)
	}
	return err
}

func buildNode(ctx context.Context, log Logf, s source, dir string) error {
	var packages []string
	for _, name := range nodePrograms {
		packages = append(packages, kubernetesModule+"/cmd/"+name)
	}
	return build(ctx, log, s, dir, "a node's programs of Kubernetes "+s.kubernetes, packages...)
}

func build(ctx context.Context, log Logf, s source, dir, what string, packages ...string) error {
	return gobuild.Build(ctx, gobuild.Request{
		What:     what,
		Dir:      s.dir,
		Programs: packages,
		Into:     dir,
		Args:     buildArgs(s),
		Env:      []string{"CGO_ENABLED=0", "GOWORK=off", "GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH},
		Log:      log,
	})
}

// buildArgs are the arguments of "go build" that the result depends on. Kubernetes' own
// build stamps the same variables: unstamped, kube-apiserver reports v0.0.0-master.
func buildArgs(s source) []string {
	majorMinor, _ := strings.CutPrefix(semver.MajorMinor(s.kubernetes), "v")
	major, minor, _ := strings.Cut(majorMinor, ".")
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags,
			"-X", pkg+".gitVersion="+s.kubernetes,
			"-X", pkg+".gitMajor="+major,
			"-X", pkg+".gitMinor="+minor)
	}
	return []string{"-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=" + strings.Join(flags, " ")}
}
