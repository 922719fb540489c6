// SPDX-License-Identifier: Apache-2.0

// Package teamtalkschedule reconciles TeamTalkSchedules: it creates a TeamTalkMessage for each scheduled time, and
// deletes the messages over the history limits.
//
// Reconciler is its entry point. Package schedule computes the times.
//
// A message is created once for a scheduled time, whatever fails in between. Its name derives from the time, so the API
// server refuses a second one while the first exists. Its idempotencyKey does too, so the store is searched for the
// first one if it was deleted. And the status records which times are done.
package teamtalkschedule
