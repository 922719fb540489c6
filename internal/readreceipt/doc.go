// SPDX-License-Identifier: Apache-2.0

// Package readreceipt knows who has read what.
//
// A Tracker observes the delivery engine (it is a delivery.Observer) and the routers: Notify takes the read notifies
// that they relay. It reports to a Listener, and wakes the resource whose status Receipts then says more of. The number
// of tracked recipients and their age are bounded, except for the resources that were given to Keep: those are tracked
// until Unkeep or Release. Nothing is invented: HeardSince says from when a read cannot have been missed.
package readreceipt
