// SPDX-License-Identifier: Apache-2.0

package crd

import (
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
	"github.com/teamtalk-io/teamtalk-operator/internal/gateway/api"
)

// createError returns what the caller can act on as a Refusal.
func createError(namespace string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return api.Refuse(v1alpha1.ReasonServerNotReady, "namespace %q is being deleted", namespace)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota"): // nothing else tells
		return api.Refuse(v1alpha1.ReasonServerNotReady,
			"a ResourceQuota of namespace %q is used up: raise it, or delete finished TeamTalkMessages", namespace)
	case apierrors.IsForbidden(err):
		return notAllowed(namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return api.Refuse(v1alpha1.ReasonContentInvalid, "the API server refuses the message: %s is invalid", invalidFields(err))
	case apierrors.IsNotFound(err):
		return api.Refuse(v1alpha1.ReasonServerNotFound, "the namespace does not exist")
	}
	return fmt.Errorf("create a TeamTalkMessage: %w", err)
}

// notAllowed tells the administrator of the gateway what to do.
func notAllowed(namespace string) error {
	return api.Refuse(v1alpha1.ReasonServerNotReady, "Kubernetes does not let the gateway create and watch "+
		"TeamTalkMessages in namespace %q: bind it to the ClusterRole teamtalk-gateway there, or check policies", namespace)
}

// invalidFields names the fields, without their values: one may be the text.
func invalidFields(err error) string {
	var fields []string
	var status apierrors.APIStatus
	if errors.As(err, &status) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			if c.Field != "" && c.Field != "<nil>" {
				fields = append(fields, c.Field)
			}
		}
	}
	if len(fields) == 0 {
		return "a value"
	}
	return strings.Join(fields, ", ")
}
