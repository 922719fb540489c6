// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
	"github.com/teamtalk-io/teamtalk-operator/test/framework/assets"
	"github.com/teamtalk-io/teamtalk-operator/test/node"
)

// Images of the run, which no registry has.
const (
	operatorImage = "teamtalk.example/teamtalk-operator"
	devImage      = "teamtalk.example/teamtalk-dev"
)

// ownPlan is what the process outside the node's namespaces passes to the one inside.
type ownPlan struct {
	plan
	ControlPlane, Node string
	Pause              string
	Archives           []string // the first is Pause's
}

func planFile(dir string) string { return filepath.Join(dir, "plan.json") }
func rowsFile(dir string) string { return filepath.Join(dir, "rows.json") }

func become() { node.Init() }

func inside() bool { return node.Inside() }

// onOwnNode makes what a node needs, and runs the steps on one.
func onOwnNode(ctx context.Context, t *table, root string) error {
	if inside() {
		return framework.Try(func() { insideNode(ctx, t) })
	}
	return framework.Try(func() {
		framework.Must(node.Check())
		p := &ownPlan{plan: asked()}
		p.Root, p.Logs = root, logsIn(root)
		dir := framework.MustGet(node.TempDir())
		var err error
		if p.prepare(ctx, t, dir) == nil { // else the table has the error
			err = runInside(ctx, t, dir, p)
		}
		_ = t.timed("nothing of the node is left", func() string { // the table has its error
			removeAll(dir)
			return ""
		})
		framework.Must(err)
	})
}

// prepare builds the programs and the images that do not exist yet.
func (p *ownPlan) prepare(ctx context.Context, t *table, dir string) error {
	err := t.timed("Kubernetes' programs, helm and the plugin are built, or were", func() string {
		p.ControlPlane = framework.MustGet(assets.ControlPlane(ctx, say))
		p.Node = framework.MustGet(assets.Node(ctx, say))
		p.Helm = framework.MustGet(framework.Tool(ctx, "helm", "helm"))
		p.Plugin = framework.MustGet(framework.BuildPlain(ctx, "kubectl-teamtalk"))
		return ""
	})
	if err != nil {
		return err
	}
	return t.timed("images are built", func() string {
		p.Pause = p.image(ctx, dir, "test/node/pause", node.PauseImage)
		p.Operator = p.image(ctx, dir, "cmd/teamtalk-operator", operatorImage)
		p.Dev = p.image(ctx, dir, "cmd/teamtalk-dev", devImage)
		return strings.Join([]string{p.Operator, p.Dev, p.Pause}, ", ")
	})
}

// image builds an image of a program, adds its archive and returns its name and tag.
func (p *ownPlan) image(ctx context.Context, dir, program, image string) string {
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(p.Root, "hack", "image"), "run", ".",
		"-dir", dir, "-name", image, program, runtime.GOARCH)
	out, err := cmd.CombinedOutput()
	framework.Mustf(err, "build the image of %s: %s", program, strings.TrimSpace(string(out)))
	prefix, suffix := filepath.Base(program)+"-", "-linux-"+runtime.GOARCH+".tar"
	found := framework.MustGet(filepath.Glob(filepath.Join(dir, prefix+"*"+suffix)))
	if len(found) != 1 {
		framework.Failf("build the image of %s: %d archives", program, len(found))
	}
	p.Archives = append(p.Archives, found[0])
	return image + ":" + strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), prefix), suffix)
}

// runInside runs this program in the node's namespaces, which goes on in insideNode.
func runInside(ctx context.Context, t *table, dir string, p *ownPlan) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := os.WriteFile(planFile(dir), b, 0o600); err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	t.path = rowsFile(dir)
	t.keep()
	started := func(pid int) {
		if p.Keep {
			say("to look at the node while it runs: nsenter --target %d --mount --net --pid env KUBECONFIG=%s kubectl get pods "+
				"-A", pid, node.KubeconfigIn(dir))
		}
	}
	code, err := node.Run(ctx, dir, started, p.Root, p.ControlPlane, p.Node, p.Helm, p.Plugin)
	t.path = ""
	if read := t.read(rowsFile(dir)); read != nil && err == nil {
		return read
	}
	if err == nil && code > 1 {
		err = errors.New("what ran on the node did not come to its end, see above")
	}
	return err
}

func insideNode(ctx context.Context, t *table) {
	dir, p := node.Dir(), &ownPlan{}
	framework.Mustf(json.Unmarshal(framework.MustGet(os.ReadFile(planFile(dir))), p), "read the plan")
	framework.Must(t.read(rowsFile(dir)))
	t.path = rowsFile(dir)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var n *node.Node
	if t.timed("the node is up and Ready", func() string {
		n = framework.MustGet(node.Start(ctx, node.Options{
			ControlPlane: p.ControlPlane, Node: p.Node, Pause: p.Pause, Archive: p.Archives[0], Logs: p.Logs,
			Failed: func(err error) { fail(err) },
		}))
		return framework.MustGet(n.Describe(ctx))
	}) != nil {
		return // the table has it
	}
	w := newWorld(p.plan, n.Config, n.Kubeconfig)
	w.kill = n.Kill
	images := step{name: "images are imported", needed: true, run: func(ctx context.Context) string {
		for _, archive := range p.Archives[1:] {
			framework.Must(n.Import(ctx, archive))
		}
		framework.Must(n.HasImages(ctx, p.Operator, p.Dev))
		return ""
	}}
	quickStart := step{name: "the commands of the quick start and of the plugin do what they say", run: w.quickStart}
	w.play(ctx, t, append([]step{images, quickStart}, w.steps()...))
}

// removeAll removes the node's folder, and checks that nothing else has its name.
func removeAll(dir string) {
	framework.Mustf(os.RemoveAll(dir), "remove the node's folder")
	framework.Must(node.Gone(dir))
}
