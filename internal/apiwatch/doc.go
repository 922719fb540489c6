// SPDX-License-Identifier: Apache-2.0

// Package apiwatch provides what watches the API outside of controller-runtime's cache, and the trigger that enqueues
// reconcile requests.
//
// Trigger is a controller's source, and Trigger.Wake enqueues a request.
package apiwatch
