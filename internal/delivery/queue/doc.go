// SPDX-License-Identifier: Apache-2.0

// Package queue decides which message may be sent next. Messages of one conversation are sent in Order, one at a time.
// The number of recipients in progress is limited for the process, and shared fairly by namespaces and servers.
//
// The controller calls Add, Requeue and Delete when something has changed, Admit and
// Done or Keep when it reconciles a message. The engine calls Submit, and acquires the Places
// that it returns. There is one Queue with one lock; each operation takes O(log n).
//
// # The path of a message
//
//  1. Add reserves the message's place when its watch event arrives. Its sender is not known yet, and its server may
//     not exist, so it gets a place in the queue of each pair of server and recipient. Each namespace has separate
//     queues: messages that wait for slots, or for a rate limit, do not block those of other namespaces.
//  2. Admit reports whether it may be submitted: it is the first in all of its queues, and there are slots for its
//     recipients. If not, it keeps its places, so that no younger message overtakes it, and the queue wakes it when
//     that has changed. Messages that wait for slots are admitted by namespace and server in turn, the oldest of each
//     first. A woken message has its slots.
//  3. Submit replaces the reserved places by Places in the conversations, under one
//     lock, and takes the slots.
//  4. Acquire reports whether the Place holds its conversation: it is the first in it, and no other Place holds it. If
//     not, it is woken later. Release passes the conversation on. ReleaseSlot frees the slot of a recipient that waits
//     for a long time. Done ends the Place.
//
// A reconciliation that does not submit the message calls Done or Keep. After Done, others overtake the message until
// Requeue or Admit. After Keep, the message keeps its places. It must keep them only if it is reconciled again soon,
// or together with all others of its server: messages behind it wait. There is no deadlock, because all messages wait
// in one Order.
//
// # Stores
//
// A conversation belongs to a message store, not to a server. Servers with a common db_proxy address share the store
// if they are in one namespace, or admit each other. So a server of another tenant does not block conversations.
// SetServer and RemoveServer define the servers. The stores are computed from these, including the addresses that a
// server had when its oldest Place entered its conversation. Requests may be in flight there. When stores are merged
// or split, the Places move with their servers.
//
// # Why no library
//
// A workqueue, also controller-runtime's with priorities, cannot delay a key until another one is done.
// semaphore.Weighted serves its waiters in the order of their calls, and blocks a goroutine for each. Here, 100,000
// messages that wait for slots need no goroutines. A keyed mutex has no order.
package queue
