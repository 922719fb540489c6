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

// ownPlan is what a run on a node of its own has been given, by the process that
// made the node's namespaces to the one in them.
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
		return insideNode(ctx, t)
	}
	if err := node.Check(); err != nil {
		return err
	}
	logs, err := logsIn(root)
	if err != nil {
		return err
	}
	dir, err := node.TempDir()
	if err != nil {
		return err
	}
	p := &ownPlan{plan: asked()}
	p.Root, p.Logs = root, logs
	if p.prepare(ctx, t, dir) {
		err = runInside(ctx, t, dir, p)
	}
	_ = t.timed("nothing of the node is left", func() (string, error) { return "", removeAll(dir) }) // the table says it
	return err
}

// prepare builds the programs and the images, as far as they are not there.
func (p *ownPlan) prepare(ctx context.Context, t *table, dir string) (ok bool) {
	err := t.timed("Kubernetes' programs and helm are built, or were", func() (seen string, err error) {
		if p.ControlPlane, err = assets.ControlPlane(ctx, say); err != nil {
			return "", err
		}
		if p.Node, err = assets.Node(ctx, say); err != nil {
			return "", err
		}
		p.Helm, err = framework.Tool(ctx, "helm", "helm")
		return "", err
	})
	if err != nil {
		return false
	}
	err = t.timed("images are built", func() (seen string, err error) {
		for _, i := range []struct {
			program, image string
			name           *string
		}{
			{"test/node/pause", node.PauseImage, &p.Pause}, {"cmd/teamtalk-operator", operatorImage, &p.Operator},
			{"cmd/teamtalk-dev", devImage, &p.Dev},
		} {
			archive, err := p.image(ctx, dir, i.program, i.image, i.name)
			if err != nil {
				return "", err
			}
			p.Archives = append(p.Archives, archive)
		}
		return strings.Join([]string{p.Operator, p.Dev, p.Pause}, ", "), nil
	})
	return err == nil
}

// image builds an image of a program, and returns the archive it is in.
func (p *ownPlan) image(ctx context.Context, dir, program, image string, name *string) (archive string, err error) {
	cmd := exec.CommandContext(ctx, "go", "-C", filepath.Join(p.Root, "hack", "image"), "run", ".",
		"-dir", dir, "-name", image, program, runtime.GOARCH)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the image of %s: %w: %s", program, err, strings.TrimSpace(string(out)))
	}
	found, err := filepath.Glob(filepath.Join(dir, filepath.Base(program)+"-*-linux-"+runtime.GOARCH+".tar"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("build the image of %s: %d archives", program, len(found))
	}
	version := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(found[0]), filepath.Base(program)+"-"),
		"-linux-"+runtime.GOARCH+".tar")
	*name = image + ":" + version
	return found[0], nil
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
	code, err := node.Run(ctx, dir, started, p.Root, p.ControlPlane, p.Node, p.Helm)
	t.path = ""
	if read := t.read(rowsFile(dir)); read != nil && err == nil {
		return read
	}
	if err == nil && code > 1 {
		err = errors.New("what ran on the node did not come to its end, see above")
	}
	return err
}

// insideNode brings up the node, and runs the steps on it.
func insideNode(ctx context.Context, t *table) error {
	dir := node.Dir()
	b, err := os.ReadFile(planFile(dir))
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	p := &ownPlan{}
	if err := json.Unmarshal(b, p); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := t.read(rowsFile(dir)); err != nil {
		return err
	}
	t.path = rowsFile(dir)
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var n *node.Node
	err = t.timed("the node is up and Ready", func() (seen string, err error) {
		n, err = node.Start(ctx, node.Options{
			ControlPlane: p.ControlPlane, Node: p.Node, Pause: p.Pause, Archive: p.Archives[0], Logs: p.Logs,
			Failed: func(err error) { fail(err) },
		})
		if err != nil {
			return "", err
		}
		return n.Describe(ctx)
	})
	if err != nil {
		return nil // the table says it
	}
	w, err := newWorld(p.plan, n.Config(), n.Kubeconfig())
	if err != nil {
		return err
	}
	w.kill = n.Kill
	images := step{name: "images are imported", needed: true, run: func(ctx context.Context) (string, error) {
		for _, archive := range p.Archives[1:] {
			if err := n.Import(ctx, archive); err != nil {
				return "", err
			}
		}
		return "", n.HasImages(ctx, p.Operator, p.Dev)
	}}
	w.play(ctx, t, append([]step{images}, w.steps()...))
	return nil
}

// removeAll removes the node's folder, and looks for what else might have its name.
func removeAll(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the node's folder: %w", err)
	}
	return node.Gone(dir)
}
