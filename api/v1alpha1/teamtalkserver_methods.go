package v1alpha1

import (
	"slices"
	"strings"
)

// Permits reports whether messages may reach a recipient.
func (r *RecipientRules) Permits(t RecipientType, id int64) bool {
	if r == nil {
		return true
	}
	open := len(r.Allow.Users) == 0 && len(r.Allow.Groups) == 0
	return !r.Deny.has(t, id) && (open || r.Allow.has(t, id))
}

func (s RecipientSet) has(t RecipientType, id int64) bool {
	if t == RecipientGroup {
		return slices.Contains(s.Groups, GroupID(id))
	}
	return slices.Contains(s.Users, UserID(id))
}

// StoreName names the database behind the server's db_proxy endpoints: servers that
// name the same ones share their conversations.
func (s *TeamTalkServer) StoreName() string {
	endpoints := make([]string, 0, len(s.Spec.DBProxy.Endpoints))
	for _, e := range s.Spec.DBProxy.Endpoints {
		endpoints = append(endpoints, string(e))
	}
	slices.Sort(endpoints)
	return strings.Join(endpoints, ",")
}
