// SPDX-License-Identifier: Apache-2.0

// Package teamtalkmessage reconciles TeamTalkMessages: it hands them to the delivery
// engine, and records in their status how far the engine has come.
//
// Reconciler is its entry point. A reconciliation runs the phases that Reconcile lists over one scope, applies
// their outcome and writes the status. The cache holds the messages that Unfinished selects; a finishedWatch finds
// edits of the others, and when they expire.
package teamtalkmessage
