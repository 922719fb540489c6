// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// ParseServer reads the name of a TeamTalkServer, as [namespace/]name. Without a namespace, it is that of the message.
func ParseServer(text string) (types.NamespacedName, error) {
	namespace, name, qualified := strings.Cut(text, "/")
	if !qualified {
		namespace, name = "", text
	}
	if name == "" || qualified && namespace == "" || strings.Contains(name, "/") {
		return types.NamespacedName{}, Usagef("--server %q is not a TeamTalkServer: use name or namespace/name", text)
	}
	return types.NamespacedName{Namespace: namespace, Name: name}, nil
}
