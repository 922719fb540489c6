// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Normalized returns the canonical form of the endpoint: in lower case, without a trailing dot, and with the canonical
// forms of IP address and port. Two host names of one address remain different.
func (e Endpoint) Normalized() Endpoint {
	host, port, err := net.SplitHostPort(string(e))
	if err != nil {
		return e
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	if n, err := strconv.Atoi(port); err == nil {
		port = strconv.Itoa(n)
	}
	return Endpoint(net.JoinHostPort(host, port))
}

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

// MayAdopt reports whether the group may be managed even if another user created it.
func (g *GroupsSpec) MayAdopt(id GroupID) bool {
	return g.AdoptAny != nil && *g.AdoptAny || slices.Contains(g.Adoptable, id)
}

// DeliveryTokens reports whether texts of the server carry delivery tokens.
func (s *TeamTalkServer) DeliveryTokens() bool { return s.Spec.DeliveryToken != DeliveryTokenDisabled }
