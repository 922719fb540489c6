// SPDX-License-Identifier: Apache-2.0

// Package access decides who may use the gateway. Kubernetes reviews bearer tokens, and the permissions of their users.
// An app_key of http_msg_server is looked up in a Secret. On loopback, all callers may be admitted.
//
// Guard.Admit decides on a request. It uses a Reviewer and AppKeys.
package access
