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

// forbidden says why the API server lets nobody, or not the gateway, put a message on
// record in a namespace.
func forbidden(namespace string, err error) error {
	var detail string
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		detail = fmt.Sprintf("namespace %q is being deleted", namespace)
	case strings.Contains(err.Error(), "exceeded quota"): // Kubernetes has no other sign of it
		detail = fmt.Sprintf("a ResourceQuota of namespace %q is used up: raise it, or delete finished TeamTalkMessages", namespace)
	default:
		return notAllowed(namespace)
	}
	return &api.Refusal{Reason: v1alpha1.ReasonServerNotReady, Detail: detail}
}

// notAllowed is for whoever has set the gateway up to mend.
func notAllowed(namespace string) error {
	return &api.Refusal{Reason: v1alpha1.ReasonServerNotReady, Detail: fmt.Sprintf(
		"Kubernetes does not let the gateway create and watch TeamTalkMessages in namespace %q: bind it to the ClusterRole teamtalk-gateway there, unless a policy is in the way", namespace)}
}

// refusal is what the caller can mend of what the API server said.
func refusal(err error) error {
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &api.Refusal{Reason: v1alpha1.ReasonContentInvalid, Detail: "the API refuses it: " + fieldsOf(err)}
	case apierrors.IsNotFound(err):
		return &api.Refusal{Reason: v1alpha1.ReasonServerNotFound, Detail: "the namespace does not exist"}
	}
	return fmt.Errorf("create a TeamTalkMessage: %w", err)
}

// fieldsOf says which fields are wrong, without their values: one may be the text.
func fieldsOf(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return "a value is out of bounds"
	}
	var fields []string
	for _, c := range status.Status().Details.Causes {
		if c.Field != "" && c.Field != "<nil>" {
			fields = append(fields, c.Field)
		}
	}
	if len(fields) == 0 {
		return "a value is out of bounds"
	}
	return strings.Join(fields, ", ") + " is out of bounds"
}
