//go:build !mutant

// Package rule names the rules that keep a message from being lost or sent twice.
// They are constants, and on. Only a build with the tag "mutant", which nobody
// runs outside of tests, can switch one off: a test of the rule must fail then, or
// it shows nothing.
package rule

// The rules, each as its name says.
const (
	// AskFirst: what may have been sent is looked for before it is sent again.
	AskFirst = true
	// ProofOfAbsence: an answer without the message proves nothing by itself.
	ProofOfAbsence = true
	// Settle: absence is proved no sooner than db_proxy can have let go of an attempt.
	Settle = true
	// ReadBack: what db_proxy gave an id for is read back from the store.
	ReadBack = true
	// LeaseGate: nothing is written to a socket without a young Lease.
	LeaseGate = true
	// DrainedMark: a Lease without the mark was not handed over in order.
	DrainedMark = true
	// InFlightBound: requests in flight are bounded per db_proxy address.
	InFlightBound = true
	// RouteConfirm: an announcement counts once the router has read it.
	RouteConfirm = true
	// NotBefore: what is proved not to have been sent waits for its time all the same.
	NotBefore = true
	// OrderHold: a message that waits holds back those after it in its conversation.
	OrderHold = true
	// KeyReused: a key that is found with another text is no message that was delivered.
	KeyReused = true
	// Attempts: what this process has sent under a key lately may still be on its way.
	Attempts = true
)
