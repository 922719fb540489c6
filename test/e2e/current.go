// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/test/framework"
)

// onCurrent runs the steps on the user's cluster, whose nodes have the images or can pull them.
func onCurrent(ctx context.Context, t *table, root string) error {
	p := asked()
	p.Root, p.Operator, p.Dev = root, os.Getenv("IMAGE"), os.Getenv("DEV_IMAGE")
	var w *world
	if err := framework.Try(func() { w = p.connect(ctx) }); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(w.kubeconfig))
	w.play(ctx, t, w.steps())
	return t.timed("nothing of the run is left in the cluster", func() string {
		framework.Must(w.clear(context.WithoutCancel(ctx)))
		return ""
	})
}

// connect connects to the cluster, and checks that the run can use it.
func (p plan) connect(ctx context.Context) *world {
	for variable, image := range map[string]string{"IMAGE": p.Operator, "DEV_IMAGE": p.Dev} {
		if _, _, ok := cutTag(image); !ok {
			framework.Failf("%s is %q: want the NAME:TAG of an image that the cluster's nodes have or can pull; "+
				"docs/explanation/e2e.md says how to make it", variable, image)
		}
	}
	p.Logs = logsIn(p.Root)
	raw, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	framework.Mustf(err, "read the kubeconfig")
	config, err := clientcmd.NewDefaultClientConfig(*raw, &clientcmd.ConfigOverrides{}).ClientConfig()
	framework.Mustf(err, "read the kubeconfig; set KUBECONFIG")
	p.Helm = framework.MustGet(framework.Tool(ctx, "helm", "helm"))
	dir := framework.MustGet(os.MkdirTemp("", "teamtalk-e2e-"))
	w := newWorld(p, config, filepath.Join(dir, "kubeconfig"))
	err = framework.Try(func() {
		framework.Must(clientcmd.WriteToFile(*raw, w.kubeconfig)) // one file, as helm's --kubeconfig wants it
		w.checkFree(ctx)
	})
	if err != nil {
		framework.Must(errors.Join(err, os.RemoveAll(dir)))
	}
	say("using %s, of the context %s", config.Host, raw.CurrentContext)
	return w
}

// checkFree checks that the cluster has nothing yet that the run would make, and remove.
func (w *world) checkFree(ctx context.Context) {
	if crds, err := w.crds(ctx); len(crds) > 0 || err != nil {
		framework.Mustf(err, "look at the cluster")
		framework.Failf("the cluster has TeamTalk's CRDs already, and the run would remove them with all messages: " +
			"take a cluster without them")
	}
	for _, name := range namespaces {
		err := w.admin.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{})
		framework.Mustf(client.IgnoreNotFound(err), "look at the cluster")
		if err == nil {
			framework.Failf("the cluster has a namespace %s already, which the run would make and remove: delete it", name)
		}
	}
}

// crds are TeamTalk's CustomResourceDefinitions in the cluster.
func (w *world) crds(ctx context.Context) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("apiextensions.k8s.io/v1")
	list.SetKind("CustomResourceDefinitionList")
	err := w.admin.List(ctx, list)
	var ours []unstructured.Unstructured
	for _, crd := range list.Items {
		if group, _, _ := unstructured.NestedString(crd.Object, "spec", "group"); group == "teamtalk.io" {
			ours = append(ours, crd)
		}
	}
	return ours, err
}

// clear removes what the run has made, whatever became of it.
func (w *world) clear(ctx context.Context) error {
	return w.removeAll(ctx, map[string]string{system: release, movedTo: movedAs}, namespaces)
}

// removeAll removes releases, by namespace, then TeamTalk's CRDs with all resources, and namespaces.
func (w *world) removeAll(ctx context.Context, releases map[string]string, namespaces []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	var errs []error
	for namespace, name := range releases {
		errs = append(errs, framework.Try(func() {
			w.helm(ctx, "uninstall", name, "--namespace", namespace, "--ignore-not-found", "--wait",
				"--timeout", time.Minute.String())
		}))
	}
	crds, err := w.crds(ctx)
	errs = append(errs, err)
	for _, crd := range crds {
		errs = append(errs, client.IgnoreNotFound(w.admin.Delete(ctx, &crd)))
	}
	for _, name := range namespaces {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		errs = append(errs, client.IgnoreNotFound(w.admin.Delete(ctx, namespace)))
		errs = append(errs, await(ctx, "the namespace "+name+" is gone", func(ctx context.Context) (string, bool, error) {
			err := w.admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
			return string(namespace.Status.Phase), apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		}))
	}
	errs = append(errs, await(ctx, "TeamTalk's CRDs are gone", func(ctx context.Context) (string, bool, error) {
		crds, err := w.crds(ctx)
		return fmt.Sprintf("%d of them", len(crds)), len(crds) == 0, err
	}))
	return errors.Join(errs...)
}
