// SPDX-License-Identifier: Apache-2.0

// Package readreceipt knows who has read what.
//
// A Tracker observes the delivery engine (it is a delivery.Observer) and the routers: Notify takes the read notifies
// that they relay. It reports to a Listener, and wakes the resource whose status Receipts then says more of. The
// number of tracked recipients and their age are bounded. Resources that were given to Keep are exempt: they are
// tracked until Unkeep or Release.
//
// Nothing is invented. Of messages that were kept, Missed says how many recipients may have read them unnoticed.
// DueChats says whose unread counters may tell more, NoteCounter takes these, and Review wakes the resources whose
// status is not up to date.
package readreceipt
