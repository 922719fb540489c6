// SPDX-License-Identifier: Apache-2.0

// Package delivery delivers a message to each of its recipients exactly once, or reports
// why it did not. The store decides: nothing is sent while an earlier attempt may
// have reached it. A doubt that cannot be settled ends as OutcomeUnknown.
//
// Engine.Submit starts the delivery of a Task, Engine.Snapshot returns its progress, and Engine.Ack confirms that the
// progress is recorded. Engine.Drain ends all work in order. An Observer observes every step.
//
// Each recipient has an executor, which executes steps until none is left. nextStep selects the step, and the functions
// in outcome.go compute the next state from its result. Both are pure functions of the recipientState and an
// environment (policy, time and jitter). searchStore searches the store for a message, and tells whether it is proved
// absent, or why not. knownRows holds rows that the store has shown: an answer without them means an outage.
package delivery
