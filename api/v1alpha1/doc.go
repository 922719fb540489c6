// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the API types of teamtalk.io/v1alpha1.
//
// A TeamTalkServer describes a TeamTalk installation and who may use it. A TeamTalkMessage is a message and its
// delivery status. A TeamTalkReceiver turns notifications of other systems into messages. A TeamTalkSchedule sends a
// message at the times of a cron schedule. A TeamTalkGroup is a chat group whose members are kept as declared.
//
// +kubebuilder:object:generate=true
// +groupName=teamtalk.io
package v1alpha1
