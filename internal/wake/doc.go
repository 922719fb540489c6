// SPDX-License-Identifier: Apache-2.0

// Package wake provides a source of reconcile requests about what is not an API object, such as a connection.
//
// Source is a controller's source, and Source.Wake enqueues a request.
package wake
