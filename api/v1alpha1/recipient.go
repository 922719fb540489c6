// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Recipient is a TeamTalk user or group. It is not part of the API.
//
// +kubebuilder:object:generate=false
type Recipient struct {
	Type RecipientType
	ID   uint32
}

// All returns the recipients, the users first.
func (r *Recipients) All() []Recipient {
	all := make([]Recipient, 0, len(r.Users)+len(r.Groups))
	for _, id := range r.Users {
		all = append(all, Recipient{RecipientUser, uint32(id)})
	}
	for _, id := range r.Groups {
		all = append(all, Recipient{RecipientGroup, uint32(id)})
	}
	return all
}
