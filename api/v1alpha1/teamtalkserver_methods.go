// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"slices"
	"strconv"
)

// PreviousKey returns the name of the n-th previous key in the Secret, counted from 1.
func (r SecretKeyRef) PreviousKey(n int) string {
	if n == 1 {
		return r.Key + PreviousKeySuffix
	}
	return r.Key + PreviousKeySuffix + "." + strconv.Itoa(n)
}

// Permits reports whether messages may be sent to a recipient.
func (r *RecipientRules) Permits(t RecipientType, id int64) bool {
	if r == nil {
		return true
	}
	open := len(r.Allow.Users) == 0 && len(r.Allow.Groups) == 0
	return !r.Deny.Has(t, id) && (open || r.Allow.Has(t, id))
}

// MayAdopt reports whether a group of another creator may be managed.
func (g *GroupsSpec) MayAdopt(id GroupID) bool {
	return g.AdoptAny != nil && *g.AdoptAny || slices.Contains(g.Adoptable, id)
}

// DeliveryTokens reports whether texts of the server carry delivery tokens.
func (s *TeamTalkServer) DeliveryTokens() bool { return s.Spec.DeliveryToken != DeliveryTokenDisabled }

// DBProxyAddresses returns the endpoints of db_proxy. All of them share one message store.
func (s *TeamTalkServer) DBProxyAddresses() []string {
	addresses := make([]string, len(s.Spec.DBProxy.Endpoints))
	for i, e := range s.Spec.DBProxy.Endpoints {
		addresses[i] = string(e)
	}
	return addresses
}
