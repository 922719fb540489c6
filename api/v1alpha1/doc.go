// Package v1alpha1 holds the kinds of teamtalk.io/v1alpha1: TeamTalkServer, one
// TeamTalk installation and who may use it, and TeamTalkMessage, one message and
// what became of it.
//
// +kubebuilder:object:generate=true
// +groupName=teamtalk.io
package v1alpha1
