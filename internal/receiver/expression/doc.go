// SPDX-License-Identifier: Apache-2.0

// Package expression evaluates the CEL expressions of a TeamTalkReceiver: filter, dedupKey and recipients. They are
// written by users of a namespace, so the work of each is counted before it is done, and limited.
//
// Compile returns the expressions of a receiver, and Of the cached ones of an existing receiver. Set.Evaluate begins
// the evaluations for one body. budget.go has the limits, calls.go the functions with special counting, and values.go
// the variables of expressions.
package expression
