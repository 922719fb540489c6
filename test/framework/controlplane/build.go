package controlplane

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

// goPrograms are the main packages of the build; each program has the name of its folder.
var goPrograms = []string{kubernetesModule + "/cmd/" + apiServerName, "./" + etcdName}

// buildArgs are the arguments of "go build" that decide what comes out.
func buildArgs(s source) []string {
	// Without a stamp kube-apiserver says that it is v0.0.0-master, and whatever asks
	// for its version takes it for an ancient one. Kubernetes' own build stamps these.
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

// build compiles both programs from s into the folder into with the go command.
// It needs the modules, from the module cache or wherever GOPROXY says.
func build(ctx context.Context, log func(format string, args ...any), s source, into string) error {
	err := compile(ctx, log, s, into, fmt.Sprintf("%s %s and %s %s", apiServerName, s.kubernetes, etcdName, s.etcd), goPrograms)
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w, or set %s to a folder with %s and %s", err, assetsVariable, apiServerName, etcdName)
	}
	return err
}

func compile(ctx context.Context, log func(format string, args ...any), s source, into, what string, programs []string) error {
	return gobuild.Build(ctx, gobuild.Request{
		What:     what,
		Dir:      s.dir,
		Programs: programs,
		Into:     into,
		Args:     buildArgs(s),
		Env:      []string{"CGO_ENABLED=0", "GOWORK=off", "GOOS=" + runtime.GOOS, "GOARCH=" + runtime.GOARCH},
		Log:      log,
	})
}
