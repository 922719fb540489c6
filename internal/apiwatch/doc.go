// SPDX-License-Identifier: Apache-2.0

// Package apiwatch provides what watches the API outside of controller-runtime's cache, and the trigger that enqueues
// reconcile requests.
//
// Trigger is a controller's source; Trigger.Wake enqueues a request. Objects.Watch has an owner notified when a
// Secret or ConfigMap may have changed. Collection.Run watches many objects and keeps none of them in memory.
// Namespaces holds what exists for each namespace in use, such as a watch.
//
// A Collection calls a CollectionHandler. Its Begin returns the version at which the watch starts: that of Version,
// which reads no objects, or that of Read, which hands over all objects page by page. When the watch cannot continue,
// Begin is called again, and must find what was missed. A Begin that starts a long Read in a goroutine, after Version,
// misses nothing: changes during the Read are reported by the watch. Objects may then be reported twice.
package apiwatch
