// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/apiwatch"
)

// DirVariable is the environment variable with a directory to which recorders write an object of each state, as
// testdata of Argo CD's health checks.
const DirVariable = "HEALTH_TESTDATA"

// Recorder compares what tools make of the objects of some API servers with Want.
type Recorder struct {
	// Root is the directory of the project.
	Root string

	mu sync.Mutex
	// seen are the reasons of Ready that were seen, by kind.
	seen  map[string]map[string]bool
	wrong []string
}

// Watch watches all objects of an API server until ctx is done.
func (r *Recorder) Watch(ctx context.Context, c client.WithWatch) {
	for kind := range Want {
		list := func() client.ObjectList {
			l := &unstructured.UnstructuredList{}
			l.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind + "List"))
			return l
		}
		all := apiwatch.Collection{Client: c, NewList: list}
		go all.Run(ctx, watcher{r, all})
	}
}

// watcher is an apiwatch.CollectionHandler.
type watcher struct {
	*Recorder
	all apiwatch.Collection
}

// Begin implements apiwatch.CollectionHandler.
func (w watcher) Begin(ctx context.Context) (string, error) {
	return w.all.Read(ctx, func(o client.Object) { w.Change(watch.Added, o) })
}

// Change implements apiwatch.CollectionHandler.
func (w watcher) Change(event watch.EventType, o client.Object) {
	if u, ok := o.(*unstructured.Unstructured); ok && event != watch.Deleted && event != watch.Bookmark {
		w.compare(u)
	}
}

// Lost implements apiwatch.CollectionHandler. The watch is resumed.
func (watcher) Lost(error) {}

func (r *Recorder) compare(o *unstructured.Unstructured) {
	got, err := Of(r.Root, o)
	state, want, known := expected(o)
	if isUnfinished(o) && want == inProgress && Want[o.GetKind()][state] == failed {
		state += "Yet"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kind := o.GetKind()
	isNew := !r.seen[kind][state]
	if r.seen == nil {
		r.seen = map[string]map[string]bool{}
	}
	if r.seen[kind] == nil {
		r.seen[kind] = map[string]bool{}
	}
	r.seen[kind][state] = true
	switch {
	case err != nil:
		r.wrong = append(r.wrong, fmt.Sprintf("%s %s: %v", kind, state, err))
	case !known:
		r.wrong = append(r.wrong, fmt.Sprintf("%s: there is no expectation of reason %s", kind, state))
	case got != want:
		r.wrong = append(r.wrong, fmt.Sprintf("%s %s is %+v, want %+v", kind, state, got, want))
	}
	if dir := os.Getenv(DirVariable); dir != "" && isNew && err == nil {
		if err := writeTestdata(dir, o, state); err != nil {
			r.wrong = append(r.wrong, err.Error())
		}
	}
}

// expected returns the state of an object, the reason of its Ready condition, and what tools should make of it.
func expected(o *unstructured.Unstructured) (state string, want Health, known bool) {
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	ready := readyOf(o)
	switch {
	case observed != o.GetGeneration():
		state, want, known = "NotObserved", inProgress, true
	case ready == nil:
		return "NotReconciled", Health{}, false
	default:
		state = ready.Reason
		want, known = Want[o.GetKind()][state]
		if ready.Status == metav1.ConditionFalse && want == failed && isUnfinished(o) {
			want = inProgress // what was not found is looked for again before the message fails
		}
	}
	if o.GetDeletionTimestamp() != nil {
		want.KStatus = status.TerminatingStatus // Argo CD shows a deletion without a check
	}
	return state, want, known
}

// isUnfinished reports whether a message is not finished. Other kinds do not finish.
func isUnfinished(o *unstructured.Unstructured) bool {
	finished, found, _ := unstructured.NestedBool(o.Object, "status", "finished")
	return found && !finished
}

func readyOf(o *unstructured.Unstructured) *metav1.Condition {
	var s struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
		} `json:"status"`
	}
	if runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &s) != nil {
		return nil
	}
	return meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
}

// Check returns what was not as wanted. All reasons of Want must have been seen for some kinds, but for exceptions.
func (r *Recorder) Check(complete []string, exceptions ...string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	wrong := slices.Compact(slices.Sorted(slices.Values(r.wrong)))
	for _, kind := range complete {
		for reason := range Want[kind] {
			if !r.seen[kind][reason] && !slices.Contains(exceptions, reason) {
				wrong = append(wrong, fmt.Sprintf("%s: no test of the package shows the reason %s", kind, reason))
			}
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New("health of objects as kstatus and Argo CD see it:\n" + strings.Join(wrong, "\n"))
}

// writeTestdata writes an object without what differs from run to run and is not looked at.
func writeTestdata(dir string, o *unstructured.Unstructured, state string) error {
	o = o.DeepCopy()
	for _, field := range []string{"managedFields", "uid", "resourceVersion", "ownerReferences", "annotations"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	b, err := yaml.Marshal(o.Object)
	if err != nil {
		return fmt.Errorf("encode %s: %w", o.GetName(), err)
	}
	dir = filepath.Join(dir, o.GetKind(), "testdata")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write testdata: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, strings.ToLower(state)+".yaml"), b, 0o644); err != nil {
		return fmt.Errorf("write testdata: %w", err)
	}
	return nil
}
