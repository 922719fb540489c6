// SPDX-License-Identifier: Apache-2.0

// Package digest is the flood control of receivers. It limits the messages that a recipient gets in a window, and lists
// the notifications over the limit in one message for each window, the digest.
//
// A Store decides on notifications: Decide. Its State is in one ConfigMap for each receiver, which the replicas of the
// gateway write with optimistic concurrency. So a notification is decided once, and all replicas count together.
// Requests of one process that wait for a receiver share a write.
//
// The text of a digest is in a ConfigMap of its own, as a copy of the state. Its message is created with the first
// notification in it, waits until the window is over, and reads the text then: it is sent even if no gateway runs.
// A request is acknowledged when the digests of its recipients are published. If a process stops between the two
// writes, the next request for the recipients publishes them. Once the digest cannot change any more, the notifications
// that were not published are moved to the digest of the current window.
package digest
