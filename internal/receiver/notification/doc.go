// SPDX-License-Identifier: Apache-2.0

// Package notification decodes what other systems post to a receiver, and splits it into messages.
//
// Decode does both. A Dialect is a format of bodies; each has a file of its own, and an entry in the table of dialects.
package notification
