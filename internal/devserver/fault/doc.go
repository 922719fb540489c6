// SPDX-License-Identifier: Apache-2.0

// Package fault describes the faults of a development TeamTalk and of proxies: their effects, their conditions, and how
// often they have fired.
//
// Parse parses a Fault, and a Set holds the faults of a server. Rules holds the faults of a proxy.
package fault
