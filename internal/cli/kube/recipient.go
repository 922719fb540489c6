// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"strings"

	"github.com/teamtalk-io/teamtalk-operator/api/v1alpha1"
)

// Describe names a recipient.
func Describe(r v1alpha1.Recipient) string {
	kind := strings.ToLower(string(r.Type))
	switch {
	case r.Resolved():
		return fmt.Sprintf("%s %d", kind, r.ID)
	case r.Ref != "":
		return fmt.Sprintf("TeamTalkGroup %q", r.Ref)
	}
	return fmt.Sprintf("%s %q", kind, r.Name)
}

// DescribeStatus names a recipient of a status, with the name that its id was found by.
func DescribeStatus(r *v1alpha1.RecipientStatus) string {
	text := Describe(r.Recipient())
	switch {
	case r.ID == 0:
	case r.Name != "":
		text += fmt.Sprintf(" (%s)", Printable(r.Name))
	case r.Ref != "":
		text += fmt.Sprintf(" (TeamTalkGroup %s)", r.Ref)
	}
	return text
}
