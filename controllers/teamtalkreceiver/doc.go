// SPDX-License-Identifier: Apache-2.0

// Package teamtalkreceiver reconciles TeamTalkReceivers: it shows in the status of each
// whether it can be used, and deletes its messages when their time to live is over. The
// gateway serves receivers and creates their messages.
//
// Reconciler is its entry point.
package teamtalkreceiver
