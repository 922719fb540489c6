// SPDX-License-Identifier: Apache-2.0

// Package receiver provides the commands of kubectl-teamtalk about TeamTalkReceivers: render and test receiver.
//
// NewRenderCommand and NewTestCommand return the commands.
package receiver
