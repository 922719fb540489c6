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

// onCurrent runs the steps on the cluster of the user's kubeconfig, whose nodes have
// the images, or can pull them.
func onCurrent(ctx context.Context, t *table, root string) error {
	p := asked()
	p.Root, p.Operator, p.Dev = root, os.Getenv("IMAGE"), os.Getenv("DEV_IMAGE")
	for variable, image := range map[string]string{"IMAGE": p.Operator, "DEV_IMAGE": p.Dev} {
		if _, _, ok := cutTag(image); !ok {
			return fmt.Errorf("%s is %q: want the NAME:TAG of an image that the cluster's nodes have or can pull; docs/e2e.md "+
				"says how to make it", variable, image)
		}
	}
	var err error
	if p.Logs, err = logsIn(root); err != nil {
		return err
	}
	raw, err := clientcmd.NewDefaultClientConfigLoadingRules().Load()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*raw, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w; set KUBECONFIG", err)
	}
	dir, err := os.MkdirTemp("", "teamtalk-e2e-")
	if err != nil {
		return fmt.Errorf("make a folder for the kubeconfig: %w", err)
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig") // which is one file, as helm's --kubeconfig wants it
	if err := clientcmd.WriteToFile(*raw, kubeconfig); err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	if p.Helm, err = framework.Tool(ctx, "helm", "helm"); err != nil {
		return err
	}
	w, err := newWorld(p, config, kubeconfig)
	if err != nil {
		return err
	}
	if err := w.free(ctx); err != nil {
		return err
	}
	say("using %s, of the context %s", config.Host, raw.CurrentContext)
	w.play(ctx, t, w.steps())
	return t.timed("nothing of the run is left in the cluster", func() (string, error) {
		return "", w.clear(context.WithoutCancel(ctx))
	})
}

// free sees that the run would meet nothing of anybody's in the cluster, and so may
// remove what it makes.
func (w *world) free(ctx context.Context) error {
	crds, err := w.kinds(ctx)
	if err != nil {
		return fmt.Errorf("look at the cluster: %w", err)
	}
	if len(crds) > 0 {
		return errors.New("the cluster knows TeamTalk's kinds already, and the run would remove them with all messages: " +
			"take a cluster without them")
	}
	for _, name := range []string{system, chat} {
		switch err := w.admin.Get(ctx, client.ObjectKey{Name: name}, &corev1.Namespace{}); {
		case err == nil:
			return fmt.Errorf("the cluster has a namespace %s already, which the run would make and remove: delete it", name)
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("look at the cluster: %w", err)
		}
	}
	return nil
}

// kinds are the CustomResourceDefinitions of TeamTalk's that there are.
func (w *world) kinds(ctx context.Context) ([]unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("apiextensions.k8s.io/v1")
	list.SetKind("CustomResourceDefinitionList")
	if err := w.admin.List(ctx, list); err != nil {
		return nil, err
	}
	var ours []unstructured.Unstructured
	for _, crd := range list.Items {
		if group, _, _ := unstructured.NestedString(crd.Object, "spec", "group"); group == "teamtalk.io" {
			ours = append(ours, crd)
		}
	}
	return ours, nil
}

// clear removes what the run has made, whatever became of it.
func (w *world) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	var errs []error
	if err := w.helm(ctx, "uninstall", release, "--ignore-not-found", "--wait", "--timeout",
		time.Minute.String()); err != nil {
		errs = append(errs, err)
	}
	crds, err := w.kinds(ctx)
	errs = append(errs, err)
	for _, crd := range crds {
		errs = append(errs, client.IgnoreNotFound(w.admin.Delete(ctx, &crd)))
	}
	for _, name := range []string{system, chat} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		errs = append(errs, client.IgnoreNotFound(w.admin.Delete(ctx, namespace)))
		errs = append(errs, await(ctx, "the namespace "+name+" is gone", func(ctx context.Context) (string, bool, error) {
			err := w.admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace)
			return string(namespace.Status.Phase), apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		}))
	}
	errs = append(errs, await(ctx, "TeamTalk's kinds are gone", func(ctx context.Context) (string, bool, error) {
		crds, err := w.kinds(ctx)
		return fmt.Sprintf("%d of them", len(crds)), len(crds) == 0, err
	}))
	return errors.Join(errs...)
}
