// SPDX-License-Identifier: Apache-2.0

// Package fault describes the faults of a development TeamTalk and of proxies: what goes wrong, when, and how often
// it did.
//
// Parse parses a Fault, and a Set holds the faults of a server. Rules are those of a proxy.
package fault
