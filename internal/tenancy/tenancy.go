// Package tenancy says which namespaces may use a TeamTalkServer.
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

// Find returns a server that a namespace may use; nil: there is none. What it may
// not use does not exist for it.
func Find(ctx context.Context, c client.Reader, key types.NamespacedName, namespace string) (*v1alpha1.TeamTalkServer, error) {
	server := &v1alpha1.TeamTalkServer{}
	switch err := c.Get(ctx, key, server); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read TeamTalkServer %s: %w", key, err)
	}
	permitted, err := permits(ctx, c, server, namespace)
	if err != nil || !permitted {
		return nil, err
	}
	return server, nil
}

// NotFound is what is said where Find finds none: the same for one that does not
// exist and one that may not be used.
func NotFound(key types.NamespacedName) string {
	return fmt.Sprintf(
		"no TeamTalkServer %q in namespace %q that this namespace may use: create it, correct serverRef, or ask its owner to allow this namespace",
		key.Name, key.Namespace)
}

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
			// Admission does not check operators; an invalid selector allows nobody.
			return false, nil //nolint:nilerr // said above
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
