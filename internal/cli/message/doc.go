// SPDX-License-Identifier: Apache-2.0

// Package message provides the commands of kubectl-teamtalk about TeamTalkMessages: send, status, retry and resend.
//
// NewSendCommand and its siblings return the commands. Follow watches a message until it has finished.
package message
