// SPDX-License-Identifier: Apache-2.0

// Package delivery delivers a message to each of its recipients exactly once, or reports
// why it did not. The store decides: nothing is sent while an earlier attempt may
// have reached it. A doubt that cannot be settled ends as OutcomeUnknown.
//
// Engine.Submit starts the delivery of a Task, Engine.Snapshot returns its progress, and Engine.Ack says that it
// is recorded. Engine.Drain ends all work in order. An Observer observes every step.
//
// Each recipient has an executor, which executes steps until none is left. nextStep
// decides on the step; the functions in outcome.go decide what its result means. Both are
// pure functions of the recipientState and an environment (policy, time and jitter).
// searchStore looks for a message in the store, and says whether it is proved absent, or why not. knownRows are rows
// that the store has shown: an answer without them is an outage.
package delivery
