package v1alpha1

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
)

// ServerKey returns the TeamTalkServer that the message goes through.
func (m *TeamTalkMessage) ServerKey() types.NamespacedName {
	key := types.NamespacedName{Namespace: m.Namespace, Name: DefaultServerName}
	if ref := m.Spec.ServerRef; ref != nil {
		key.Name = ref.Name
		if ref.Namespace != "" {
			key.Namespace = ref.Namespace
		}
	}
	return key
}

// Finished reports whether nothing more will be tried for the spec as it is now.
func (m *TeamTalkMessage) Finished() bool {
	c := meta.FindStatusCondition(m.Status.Conditions, ConditionFinished)
	return c != nil && c.Status == "True" && c.ObservedGeneration == m.Generation
}

// NothingStored reports whether every recipient has failed with proof that
// nothing was stored: only then may a finished message be tried anew.
func (s *TeamTalkMessageStatus) NothingStored() bool {
	for _, r := range s.Recipients {
		if r.State != StateFailed || r.Reason == ReasonOutcomeUnknown {
			return false
		}
	}
	return true
}

// Permits reports whether messages of the server may speak as the user.
func (s *SendersSpec) Permits(id UserID) bool {
	if id == s.Default {
		return true
	}
	return slices.Contains(s.Allowed, id)
}
