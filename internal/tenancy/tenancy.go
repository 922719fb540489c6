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

// NotFoundError says that a namespace has no such server, or may not use it: the two are not told apart.
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
	switch allowed := server.Spec.AllowedNamespaces; allowed.From {
	case v1alpha1.FromAll:
		return true, nil
	case v1alpha1.FromSelector:
		selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
		if err != nil {
			// Admission does not check a selector's operators. An invalid selector allows no namespace.
			return false, nil //nolint:nilerr // see above
		}
		ns := &metav1.PartialObjectMetadata{}
		ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		if err := c.Get(ctx, client.ObjectKey{Name: namespace}, ns); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return selector.Matches(labels.Set(ns.Labels)), nil
	default:
		return false, nil
	}
}
