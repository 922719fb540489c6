// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/pkg/ssa"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/apply"
	"k8s.io/kubectl/pkg/cmd/replace"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// tool applies manifests of a tenant.
type tool interface {
	// sync applies what Git has, and deletes what it applied and Git does not have any more.
	sync(ctx context.Context, objects ...*unstructured.Unstructured) error
	// forced has it delete and create an object again if the API server refuses a change. Nil if it cannot.
	forced() manifestEdit
}

// withoutForce is the tool that cannot replace refused objects.
const withoutForce = "Argo CD on the server side"

// tools are the tools by name.
var tools = map[string]func(*tenant) tool{
	"Flux":       func(x *tenant) tool { return newFlux(x) },
	"Argo CD":    func(x *tenant) tool { return &argoCD{tenant: x} },
	withoutForce: func(x *tenant) tool { return &argoCD{tenant: x, serverSide: true} },
}

// flux applies as kustomize-controller does, with its library.
type flux struct {
	*ssa.ResourceManager
	applied []*unstructured.Unstructured
	// changes are those of the last sync.
	changes *ssa.ChangeSet
}

func newFlux(x *tenant) *flux {
	c := x.Cluster.Admin
	const group = "kustomize.toolkit.fluxcd.io"
	owner := ssa.Owner{Field: "kustomize-controller", Group: group}
	return &flux{ResourceManager: ssa.NewResourceManager(c, polling.NewStatusPoller(c, c.RESTMapper(), polling.Options{}), owner)}
}

func (*flux) forced() manifestEdit {
	return annotated("kustomize.toolkit.fluxcd.io/force", "enabled")
}

func (f *flux) sync(ctx context.Context, objects ...*unstructured.Unstructured) (err error) {
	objects = copies(objects)
	f.SetOwnerLabels(objects, "announcements", "flux-system")
	options := ssa.DefaultApplyOptions()
	options.ForceSelector = map[string]string{"kustomize.toolkit.fluxcd.io/force": "Enabled"}
	options.WaitInterval = 100 * time.Millisecond
	if f.changes, err = f.ApplyAll(ctx, objects, options); err != nil {
		return err
	}
	stale := missing(f.applied, objects)
	f.applied = objects
	_, err = f.DeleteAll(ctx, stale, ssa.DefaultDeleteOptions())
	return err
}

// wait waits for health as a Kustomization with wait does.
func (f *flux) wait(timeout time.Duration) error {
	return f.Wait(f.applied, ssa.WaitOptions{Interval: 100 * time.Millisecond, Timeout: timeout})
}

// argoCD applies as Argo CD does, with kubectl's library.
type argoCD struct {
	*tenant
	// serverSide: with the option ServerSideApply=true.
	serverSide bool
	applied    []*unstructured.Unstructured
}

const syncOptions = "argocd.argoproj.io/sync-options"

// forced: Argo CD has no force with server-side apply.
func (a *argoCD) forced() manifestEdit {
	if a.serverSide {
		return nil
	}
	return annotated(syncOptions, "Force=true")
}

func (a *argoCD) sync(ctx context.Context, objects ...*unstructured.Unstructured) error {
	for _, o := range objects {
		if err := a.applyOne(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range missing(a.applied, objects) {
		a.deleteForeground(o)
	}
	a.applied = objects
	return nil
}

// applyOne applies an object with the sync options of its annotation.
func (a *argoCD) applyOne(ctx context.Context, o *unstructured.Unstructured) error {
	group := o.GroupVersionKind().Group
	o = edited(o, annotated("argocd.argoproj.io/tracking-id",
		fmt.Sprintf("announcements:%s/%s:%s/%s", group, o.GetKind(), o.GetNamespace(), o.GetName())))
	options := strings.Split(o.GetAnnotations()[syncOptions], ",")
	args := []string{"--field-manager", "argocd-controller"}
	if slices.Contains(options, "Force=true") {
		args = append(args, "--force")
	}
	replaces := slices.Contains(options, "Replace=true")
	switch {
	case replaces && a.live(o) == nil:
		return a.Cluster.Admin.Create(ctx, o, client.FieldOwner("argocd-controller"))
	case replaces:
		return a.kubectl(replace.NewCmdReplace, o, args...)
	case a.serverSide:
		args = append(args, "--server-side", "--force-conflicts")
	}
	return a.kubectl(func(f cmdutil.Factory, streams genericiooptions.IOStreams) *cobra.Command {
		return apply.NewCmdApply("kubectl", f, streams)
	}, o, args...)
}

// kubectlError is with what kubectl ends.
type kubectlError string

func (e kubectlError) Error() string { return string(e) }

// kubectl runs a command of kubectl for a manifest.
func (x *tenant) kubectl(
	command func(cmdutil.Factory, genericiooptions.IOStreams) *cobra.Command, o *unstructured.Unstructured, args ...string,
) (err error) {
	x.Helper()
	dir := x.TempDir()
	manifest, err := json.Marshal(o)
	x.Must(err)
	file := filepath.Join(dir, "manifest.json")
	x.Must(os.WriteFile(file, manifest, 0o600))
	flags := genericclioptions.NewConfigFlags(true)
	flags.KubeConfig, flags.CacheDir = &shared.kubeconfig, &dir
	cmd := command(cmdutil.NewFactory(flags), genericiooptions.IOStreams{Out: &bytes.Buffer{}, ErrOut: &bytes.Buffer{}})
	cmd.SetArgs(append(args, "--filename", file))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case kubectlError:
			err = r
		default:
			panic(r)
		}
	}()
	return cmd.ExecuteContext(x.Context())
}

// helm runs helm in the tenant's namespace.
func (x *tenant) helm(args ...string) {
	x.Helper()
	_, err := framework.RunHelm(x.Context(), shared.helm, x.TempDir(), append(args,
		"--kubeconfig", shared.kubeconfig, "--namespace", x.Namespace)...)
	x.Must(err)
}
