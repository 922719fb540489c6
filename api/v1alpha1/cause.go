// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Cause is the reason why something waits or has failed. It is not part of the API.
//
// +kubebuilder:object:generate=false
type Cause struct {
	// Reason is one of the reasons of this package.
	Reason string
	// Message describes what to do.
	Message string
}
