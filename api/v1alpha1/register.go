// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the API group and version of this package.
var GroupVersion = schema.GroupVersion{Group: "teamtalk.io", Version: "v1alpha1"}

var schemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion,
		&TeamTalkServer{}, &TeamTalkServerList{},
		&TeamTalkMessage{}, &TeamTalkMessageList{},
		&TeamTalkReceiver{}, &TeamTalkReceiverList{},
		&TeamTalkSchedule{}, &TeamTalkScheduleList{},
		&TeamTalkGroup{}, &TeamTalkGroupList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
})

// AddToScheme registers the types of this package.
var AddToScheme = schemeBuilder.AddToScheme
