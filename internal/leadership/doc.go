// SPDX-License-Identifier: Apache-2.0

// Package leadership fences the sending of messages. At any time, at most one process may send, and a new leader knows
// the messages that its predecessor may still be sending. Leader election alone does not ensure this: a process that is
// suspended past its Lease continues with what it was about to send.
//
// # Setup
//
// NewFencingGate and NewLock are created before the manager. The lock is the
// LeaderElectionResourceLockInterface of the manager: it opens the gate whenever it acquires or renews
// the Lease. NewTermTracker returns a Runnable of the manager.
//
// # Use
//
// FencingGate.Open is called before each write to a socket. TermTracker.Term returns the Term of this process, which
// waits until the term has begun. If it is not Clean, messages that the predecessor may have sent are searched in the
// store before they are sent. At shutdown, after the engine has drained, TermTracker.MarkDrained sets DrainedAnnotation
// on the Lease, which makes the next term Clean. If some messages could not be recorded, it sets
// DrainedExceptAnnotation instead. Then only these are searched in the store first, so that a message whose status the
// API server refuses does not delay others. Term.MayBeSent says of which messages that is true.
//
// NewClaims returns the Claims of a process. Claims.Claim is called for each TeamTalkServer before anything is sent
// through it. Claims.TermOf returns the Term for its messages: a server that was taken over from an operator with
// another Lease has its own.
//
// # Implementation
//
// The gate closes when the Lease was not renewed for RenewDeadline by one of two clocks. CLOCK_BOOTTIME advances
// while the process or the machine is suspended. CLOCK_REALTIME shows that a hypervisor has paused the machine. A
// process acquires the Lease once. After the process has lost the Lease, or has not renewed it in time, the lock
// refuses every write until the elector ends the process.
//
// The annotations are only changed on the version of the Lease that was read, with this process as its holder. They
// contain the resourceVersion of the TeamTalkMessages that holds everything that was recorded. Where more messages are
// unrecorded than DrainedExceptAnnotation can name, it names the namespaces with the most of them.
//
// # Trade-offs
//
// A leader that was not drained costs its successor a search of the store, but no message is lost or sent twice. A
// gate that closes early delays messages. One that closes late could send twice. So the time is counted from before
// the write of the Lease. A wall clock that is set forward by more than LeaseDuration ends the leader, as it cannot
// be told from a pause.
package leadership
