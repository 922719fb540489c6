// SPDX-License-Identifier: Apache-2.0

// Package fairqueue provides a queue that tenants share: they are served in turn, regardless of the lengths of their
// queues.
//
// New returns a Queue. Push adds an item and returns its handle, Remove takes an item out, and Next returns the item
// that is next. Tenants are served in turn, and so are the flows of a tenant. The items of a flow are first in, first
// out, or have an order.
//
// A Queue has no goroutines and no lock: its caller holds one. Push, Remove and Next take time logarithmic in the
// length of one flow. Next also looks at the first item of each flow that does not fit.
package fairqueue
