// SPDX-License-Identifier: Apache-2.0

// Package teamtalkmessage reconciles TeamTalkMessages: it submits them to the delivery engine, and records the engine's
// progress in their status.
//
// Reconciler is its entry point. A reconciliation runs the phases that Reconcile lists over one scope, applies their
// outcome and writes the status. The cache holds the messages that Unfinished selects. A finishedWatch detects edits
// and the expiry of the others.
package teamtalkmessage
