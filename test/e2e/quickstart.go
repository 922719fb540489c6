// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

const (
	quickStartPage  = "docs/tutorials/quick-start.md"
	quickStartFiles = "config/samples/quick-start"
	// quickSystem and quickChat are the namespaces of the page.
	quickSystem, quickChat = "teamtalk-system", "chat"
	// quickAddress is where the page's TeamTalk is in the node, which has no DNS. The API server gives it to no other
	// Service by itself.
	quickAddress = "10.96.0.10"
)

// quickSections are those of the page that a node can follow. The others make the cluster with kind, open the inbox in
// a browser, and remove the cluster.
var quickSections = []string{
	"2. The operator and the gateway", "3. TeamTalk", "4. The first message", "6. The first alert", "7. A failure",
}

// pluginCommands are run after those of the page. The pod's address replaces those of the TeamTalkServer, because the
// node has no route to Services outside of its pods. The gateway would take the payload of the page for a repeat.
const pluginCommands = `
POD=$(kubectl get pods --namespace chat --selector app=teamtalk-dev --output 'jsonpath={.items[0].status.podIP}')
kubectl teamtalk doctor --namespace chat --db-proxy $POD:10600 --router $POD:8200
kubectl teamtalk send --namespace chat --name from-plugin --to-user 3 "Hello from the plugin"
kubectl teamtalk status from-plugin --namespace chat
sed 's/HighLatency/FromThePlugin/' config/samples/receiver-payload.json |
  kubectl teamtalk test receiver alerts --namespace chat -f -
`

// quickStart runs the commands of the quick start as they are, then the plugin, and removes what they made.
func (w *world) quickStart(ctx context.Context) (seen string) {
	dir := framework.MustGet(os.MkdirTemp(filepath.Dir(w.kubeconfig), "quick-start-"))
	defer os.RemoveAll(dir)
	commands := commandsIn(string(framework.MustGet(os.ReadFile(filepath.Join(w.Root, quickStartPage)))), quickSections)
	w.copyQuickStart(dir)
	runError := framework.Try(func() {
		w.run(ctx, dir, commands+pluginCommands)
		seen = w.quickStartSeen(ctx)
	})
	if runError != nil {
		runError = errors.Join(runError, w.complaints(ctx, quickSystem), w.complaints(ctx, quickChat))
		if w.Keep {
			framework.Must(runError)
		}
	}
	framework.Must(errors.Join(runError, w.removeAll(context.WithoutCancel(ctx),
		map[string]string{quickSystem: release}, []string{quickSystem, quickChat})))
	return seen
}

// commandsIn returns the commands of a page's sections.
func commandsIn(page string, sections []string) string {
	var commands strings.Builder
	found := map[string]bool{}
	section, inCommands := "", false
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, "## "):
			section = strings.TrimSpace(strings.TrimPrefix(line, "## "))
		case strings.HasPrefix(line, "```"):
			inCommands = strings.TrimSpace(line) == "```sh"
		case inCommands && slices.Contains(sections, section):
			found[section] = true
			commands.WriteString(line)
		}
	}
	for _, section := range sections {
		if !found[section] {
			framework.Failf("%s has no commands in the section %q", quickStartPage, section)
		}
	}
	return commands.String()
}

// copyQuickStart copies what the commands need into dir. Addresses replace the names of DNS.
func (w *world) copyQuickStart(dir string) {
	for _, folder := range []string{"charts", "config/samples"} {
		framework.Must(os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(w.Root, folder))))
	}
	for name, change := range map[string][2]string{
		"teamtalk.yaml": {"spec:\n  selector: {app", "spec:\n  clusterIP: " + quickAddress + "\n  selector: {app"},
		"server.yaml":   {"teamtalk-dev.chat.svc:", quickAddress + ":"},
	} {
		path := filepath.Join(dir, quickStartFiles, name)
		text := string(framework.MustGet(os.ReadFile(path)))
		if !strings.Contains(text, change[0]) {
			framework.Failf("%s/%s does not have %q", quickStartFiles, name, change[0])
		}
		framework.Must(os.WriteFile(path, []byte(strings.ReplaceAll(text, change[0], change[1])), 0o600))
	}
}

// run runs commands in a shell, in dir. The first one that fails ends them.
func (w *world) run(ctx context.Context, dir, commands string) {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	bin := filepath.Join(dir, "bin")
	framework.Must(os.Mkdir(bin, 0o755))
	for name, program := range map[string]string{"helm": w.Helm, "kubectl-teamtalk": w.Plugin} {
		framework.Must(os.Symlink(program, filepath.Join(bin, name)))
	}
	self := fmt.Sprintf("#!/bin/bash\nexec -a %s /proc/%d/exe \"$@\"\n", kubectl, os.Getpid())
	framework.Must(os.WriteFile(filepath.Join(bin, kubectl), []byte(self), 0o755))
	script := "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + commands
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // the shell ends what it has started
	cmd.WaitDelay = time.Minute
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "KUBECONFIG="+w.kubeconfig,
		"HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	log := framework.MustGet(os.Create(filepath.Join(w.Logs, "quick-start.log")))
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	framework.Mustf(cmd.Run(), "run the commands of %s and the plugin: see bin/e2e.logs/quick-start.log", quickStartPage)
}

// quickStartSeen checks what the page says about its messages, and that the plugin has sent its own.
func (w *world) quickStartSeen(ctx context.Context) (seen string) {
	want := strings.Join([]string{
		"alerts " + v1alpha1.ReasonDelivered, "alerts " + v1alpha1.ReasonDelivered,
		"from-plugin " + v1alpha1.ReasonDelivered, "hello " + v1alpha1.ReasonDelivered,
		"nobody " + v1alpha1.ReasonRecipientNotFound,
	}, ", ")
	w.await(ctx, "the messages are as the page says", func() (string, bool) {
		list := &v1alpha1.TeamTalkMessageList{}
		framework.Must(w.admin.List(ctx, list, client.InNamespace(quickChat)))
		var all []string
		for _, m := range list.Items {
			name, reason := m.Name, "has no status"
			if strings.HasPrefix(name, "alerts-") {
				name = "alerts"
			}
			if ready := meta.FindStatusCondition(m.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
				reason = ready.Reason
			}
			all = append(all, name+" "+reason)
		}
		slices.Sort(all)
		seen = strings.Join(all, ", ")
		return seen, seen == want
	})
	return seen
}
