// SPDX-License-Identifier: Apache-2.0

// Package apiwatch provides watches outside of controller-runtime's cache, and the trigger that enqueues reconcile
// requests.
//
// Trigger is a controller's source; Trigger.Wake enqueues a request. Objects.Watch notifies an owner when a Secret or
// ConfigMap may have changed. Collection.Run watches many objects and keeps none of them in memory. Namespaces holds a
// value, such as a watch, for each namespace in use.
//
// A Collection calls a CollectionHandler. Its Begin returns the version at which the watch starts. It comes from
// Version, which reads no objects, or from Read, which passes all objects page by page. When the watch cannot
// continue, Begin is called again, and must find the missed changes. A Begin may start a long Read in a goroutine
// after Version: the watch reports changes during the Read. Objects may then be reported twice.
package apiwatch
