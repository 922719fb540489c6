// SPDX-License-Identifier: Apache-2.0

// Package objectwatch provides watches of single objects by name. A Secret or ConfigMap can be followed with RBAC for
// its name only, and without keeping all objects of its type in memory.
//
// New returns a Watcher, whose Watch begins to watch an object for an owner.
package objectwatch
