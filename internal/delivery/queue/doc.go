// SPDX-License-Identifier: Apache-2.0

// Package queue decides which message may be sent next. Messages of one conversation are sent in Order, one at a time;
// those of different namespaces from when they have slots. Of the process a bounded number of recipients is under way,
// shared fairly by namespaces and servers.
//
// The controller calls Add, Requeue and Delete when something has changed, Admit and
// Done or Keep when it reconciles a message. The engine calls Submit, and acquires the Places
// that it returns. There is one Queue with one lock; each operation takes O(log n).
//
// # The path of a message
//
//  1. Add reserves the message's place when its watch event comes. Its sender is not
//     known yet, and its server may not exist: it gets a place in the line of each
//     pair of server and recipient. Each namespace has lines of its own: what it has
//     waiting for slots, or for its rate, holds back no other's.
//  2. Admit reports whether it may be submitted: it is the first in all of its lines,
//     and there are slots for its recipients. If not, it keeps its places, so that no
//     younger message passes it, and the queue wakes it when that has changed. Those
//     that wait for slots take turns by namespace and server, the oldest of each
//     first. A message has its slots when it is woken.
//  3. Submit replaces the reserved places by Places in the conversations, under one
//     lock, and takes the slots.
//  4. Acquire reports whether the Place holds its conversation: it is the first in it,
//     and nobody else holds it. If not, it is woken then. Release passes the
//     conversation on. ReleaseSlot admits others: the recipient waits for long. Done
//     ends the Place.
//
// A reconcile that does not submit the message either calls Done, and others pass it until Requeue or Admit; or
// it calls Keep, and the message keeps its places. It must keep them only if it is reconciled again soon, or
// together with all others of its server: messages behind it wait. One message always waits for no other, as all
// wait by one Order.
//
// # Stores
//
// A conversation belongs to a message store, not to a server. Servers with a common db_proxy address share the store
// if they are of one namespace, or admit each other: a server that another tenant writes must not hold conversations
// back. SetServer and RemoveServer say which servers there are. The stores are computed from these, with the addresses
// that a server had when its oldest Place entered its conversation: requests may be in flight there. Where stores are
// joined or parted, the Places that hold conversations and those that wait move with their servers.
//
// # Why no library
//
// A workqueue, also controller-runtime's with priorities, keeps no key back while another one is reconciled or is
// still to come. semaphore.Weighted serves its waiters in the order of their calls, and blocks a goroutine for
// each: of 100,000 messages that wait for slots, none has a goroutine here. A keyed mutex has no order.
package queue
