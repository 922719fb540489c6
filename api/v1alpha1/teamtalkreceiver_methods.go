package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// ServerKey returns the TeamTalkServer that the receiver's messages go through.
func (r *TeamTalkReceiver) ServerKey() types.NamespacedName {
	m := TeamTalkMessage{Spec: TeamTalkMessageSpec{ServerRef: r.Spec.ServerRef}}
	m.Namespace = r.Namespace
	return m.ServerKey()
}

// SecretRef returns the Secret that callers are checked against; nil: none is.
func (r *TeamTalkReceiver) SecretRef() *TokenSecretRef {
	switch a := r.Spec.Authentication; {
	case a == nil:
		return nil
	case a.HMACSecretRef != nil:
		return a.HMACSecretRef
	default:
		return a.TokenSecretRef
	}
}

// DedupWindow is how long a notification is a repeat of the one before it.
func (r *TeamTalkReceiver) DedupWindow() time.Duration {
	return time.Duration(r.Spec.DedupWindowSeconds) * time.Second
}

// TTL is how long a finished message is kept.
func (r *TeamTalkReceiver) TTL() time.Duration {
	return time.Duration(r.Spec.TTLSecondsAfterFinished) * time.Second
}
