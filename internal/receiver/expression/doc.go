// SPDX-License-Identifier: Apache-2.0

// Package expression evaluates the CEL expressions of a TeamTalkReceiver: filter, dedupKey and recipients. They are
// written by users of a namespace, so the work of each is counted before it is done, and limited.
//
// Compile returns the expressions of a receiver, and Of those of one that exists, which are kept. Set.Evaluate begins
// what is evaluated for one body. budget.go has the limits, calls.go the functions that are counted by what they do,
// and values.go what expressions see.
package expression
