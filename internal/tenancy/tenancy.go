// SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// NotFoundError reports that a namespace has no such server, or may not use it. It does not reveal which.
type NotFoundError struct{ Server types.NamespacedName }

// Error implements error. The text is shown to users.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no TeamTalkServer %q in namespace %q that this namespace may use: "+
		"create it, correct serverRef, or ask its owner to allow this namespace", e.Server.Name, e.Server.Namespace)
}

// FindServer returns a server that a namespace may use, or a NotFoundError.
func FindServer(ctx context.Context, c client.Reader, key types.NamespacedName, namespace string) (
	*v1alpha1.TeamTalkServer, error,
) {
	server := &v1alpha1.TeamTalkServer{}
	switch err := c.Get(ctx, key, server); {
	case apierrors.IsNotFound(err):
		return nil, &NotFoundError{key}
	case err != nil:
		return nil, fmt.Errorf("read TeamTalkServer %s: %w", key, err)
	}
	switch permitted, err := permits(ctx, c, server, namespace); {
	case err != nil:
		return nil, err
	case !permitted:
		return nil, &NotFoundError{key}
	}
	return server, nil
}

// permits reports whether the server's allowedNamespaces hold a namespace.
func permits(ctx context.Context, c client.Reader, server *v1alpha1.TeamTalkServer, namespace string) (bool, error) {
	if namespace == server.Namespace {
		return true, nil
	}
	selector := selectorOf(server)
	if selector == nil || selector.Empty() {
		return selector != nil, nil
	}
	of, err := labelsOf(ctx, c, namespace)
	if err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return selector.Matches(of), nil
}

// selectorOf selects the namespaces other than its own that may use a server. It returns nil if there are none. An
// empty one selects all.
func selectorOf(server *v1alpha1.TeamTalkServer) labels.Selector {
	switch allowed := server.Spec.AllowedNamespaces; allowed.From {
	case v1alpha1.FromAll:
		return labels.Everything()
	case v1alpha1.FromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
		if err != nil {
			// Admission does not check a selector's operators. An invalid selector allows no namespace.
			return nil
		}
		return selector
	default:
		return nil
	}
}

func labelsOf(ctx context.Context, c client.Reader, namespace string) (labels.Set, error) {
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err := c.Get(ctx, client.ObjectKey{Name: namespace}, ns)
	return labels.Set(ns.Labels), err
}

// Admits returns a function for queue.Queue.Admits, which reads servers from a cache.
func Admits(ctx context.Context, c client.Reader) func(types.NamespacedName) labels.Selector {
	return func(key types.NamespacedName) labels.Selector {
		server := &v1alpha1.TeamTalkServer{}
		if err := c.Get(ctx, key, server); err != nil {
			return nil // it was deleted
		}
		return selectorOf(server)
	}
}

// Labels returns a function for queue.Queue.Labels, which reads namespaces from a cache.
func Labels(ctx context.Context, c client.Reader) func(string) labels.Labels {
	return func(namespace string) labels.Labels {
		of, err := labelsOf(ctx, c, namespace)
		if err != nil {
			return nil
		}
		return of
	}
}
