// Package delivery brings one message to one recipient exactly once, or says why not.
//
// The store is the ledger: nothing is sent while an earlier attempt may have
// reached it, and a doubt that cannot be settled ends as OutcomeUnknown, never
// as a guess. What to do next is decided by pure functions of a recipient's
// Progress, a Policy and the time (decide.go, outcome.go, evidence.go); the
// Engine carries the steps out, one goroutine a recipient, one message at a time
// in each conversation.
package delivery
