//go:build mutant

package rule

import (
	"fmt"
	"os"
)

// Variable names the rule that is off, by the words below; empty: none is.
const Variable = "TEAMTALK_MUTANT"

// The rules; see the ordinary build's.
var (
	AskFirst       = on("ask-first")
	ProofOfAbsence = on("proof-of-absence")
	Settle         = on("settle")
	ReadBack       = on("read-back")
	LeaseGate      = on("lease-gate")
	DrainedMark    = on("drained-mark")
	InFlightBound  = on("in-flight-bound")
	RouteConfirm   = on("route-confirm")
	NotBefore      = on("not-before")
	OrderHold      = on("order-hold")
	KeyReused      = on("key-reused")
	Attempts       = on("attempts")
)

var names []string

func on(name string) bool {
	names = append(names, name)
	return os.Getenv(Variable) != name
}

func init() {
	off := os.Getenv(Variable)
	known := off == ""
	for _, name := range names {
		known = known || name == off
	}
	if !known {
		// A misspelt rule would be a mutant that lives.
		panic(fmt.Sprintf("%s=%s: want one of %q", Variable, off, names))
	}
}
