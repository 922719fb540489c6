// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ServerKey returns the TeamTalkServer that sends the messages of the receiver.
func (r *TeamTalkReceiver) ServerKey() types.NamespacedName {
	m := TeamTalkMessage{Spec: TeamTalkMessageSpec{ServerRef: r.Spec.ServerRef}}
	m.Namespace = r.Namespace
	return m.ServerKey()
}

// SecretName returns the name of the Secret with the callers' credentials, or "" if the receiver has none.
func (r *TeamTalkReceiver) SecretName() string {
	switch a := r.Spec.Authentication; {
	case a == nil:
		return ""
	case a.TokenSecretRef != nil:
		return a.TokenSecretRef.Name
	case a.BasicSecretRef != nil:
		return a.BasicSecretRef.Name
	case a.HMACSecretRef != nil:
		return a.HMACSecretRef.Name
	default:
		return ""
	}
}

// DedupWindow returns dedupWindowSeconds.
func (r *TeamTalkReceiver) DedupWindow() time.Duration {
	return time.Duration(r.Spec.DedupWindowSeconds) * time.Second
}

// TTL returns ttlSecondsAfterFinished.
func (r *TeamTalkReceiver) TTL() time.Duration {
	return time.Duration(r.Spec.TTLSecondsAfterFinished) * time.Second
}

// OwnerReference returns an owner reference to the receiver. Objects with it are deleted together with the receiver.
func (r *TeamTalkReceiver) OwnerReference() metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: GroupVersion.String(), Kind: "TeamTalkReceiver", Name: r.Name, UID: r.UID, Controller: new(true),
	}
}

// HasAlerts reports whether notifications of the type have alerts with labels.
func (t ReceiverType) HasAlerts() bool { return t == ReceiverAlertmanager || t == ReceiverGrafana }
