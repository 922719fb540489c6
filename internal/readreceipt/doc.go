// SPDX-License-Identifier: Apache-2.0

// Package readreceipt measures when messages are read.
//
// A Tracker observes the delivery engine (it is a delivery.Observer) and the routers: Notify takes the read notifies
// that they relay. It reports to a Listener. The number of tracked recipients and their age are bounded. A missed
// receipt is missing from a metric; nothing else depends on it.
package readreceipt
