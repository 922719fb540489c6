// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/teamtalk-io/teamtalk-operator/internal/teamtalk/wire"
)

// Kind is the kind of a fault.
type Kind string

// Kinds of faults of single requests.
const (
	// NoAnswer executes a request and does not answer it.
	NoAnswer Kind = "no-answer"
	// Drop neither executes nor answers a request.
	Drop Kind = "drop"
	// Late executes a request and answers it after Delay (default 2s).
	Late Kind = "late"
	// Reorder delays an answer until After (default 1) later ones are sent on the connection, at most for Delay (default
	// 2s).
	Reorder Kind = "reorder"
	// Repeat answers twice.
	Repeat Kind = "repeat"
	// IDZero answers a message with id 0, and a change of a group with result 1, and stores nothing.
	IDZero Kind = "id-zero"
	// IDUnknown answers a message with id 0xFFFFFFFF, and stores it if Store is set.
	IDUnknown Kind = "id-unknown"
	// FalseSuccess answers a message with a fresh id and stores nothing.
	FalseSuccess Kind = "false-success"
	// EmptyList answers a read as if there were nothing.
	EmptyList Kind = "empty-list"
	// CloseBeforeStore draws an id, stores nothing and closes every connection of
	// the server, as a crash does.
	CloseBeforeStore Kind = "close-before-store"
	// CloseAfterStore stores, then closes every connection unanswered.
	CloseAfterStore Kind = "close-after-store"
	// StopReceiving announces the end of the server (0x0702) to every connection, and closes all of them after Delay
	// (default 4s). Until then it serves requests. It fires once when it is added, or, with a command, when a request for
	// it arrives.
	StopReceiving Kind = "stop-receiving"
	// RouterDrop relays nothing.
	RouterDrop Kind = "router-drop"
)

// Kinds of states that last until the fault is removed.
const (
	// Lag hides rows that are younger than Delay (default 2s) from reads.
	Lag Kind = "lag"
	// RedisFlushed shows every group without members and history, until the next
	// message to it.
	RedisFlushed Kind = "redis-flushed"
	// ReplicaStopped hides rows that were stored after the fault was added from reads, as a stopped replica does.
	ReplicaStopped Kind = "replica-stopped"
	// TableUnreadable makes one of TeamTalk's tables of messages, Table, look empty to reads. Messages are still stored
	// there.
	TableUnreadable Kind = "table-unreadable"
	// SlowAudio delays an answer by Delay (default 100ms) for each audio row, as loading the files does.
	SlowAudio Kind = "slow-audio"
	// GroupDeadlock stops all answers after more than Limit (default 16) group messages and group reads were in flight at
	// once. Each of them takes Delay (default 20ms).
	GroupDeadlock Kind = "group-deadlock"
	// HungWorker makes a worker hang forever, at a message to a group that overlaps with other messages. The message is
	// stored. Neither it nor later requests to the worker are answered. Probability (default 0.0005) applies to each
	// overlapping message, and each message takes Delay (default 20ms).
	HungWorker Kind = "hung-worker"
	// Refuse closes every connection, and each later one immediately. With Down, the port is closed for Delay, or until
	// the fault is removed.
	Refuse Kind = "refuse"
)

// Target is the server that a fault is in.
type Target string

// The two servers.
const (
	DBProxy Target = "dbproxy"
	Router  Target = "router"
)

// Fault is one fault. Selectors that are zero match everything.
type Fault struct {
	// ID identifies the fault in a server, which assigns it.
	ID   int
	Kind Kind
	// Server defaults to dbproxy, and to router for router-drop.
	Server Target
	// Command is a request's command id.
	Command wire.Command
	// From is the sender of a message, or the user of a request.
	From uint32
	// To is the recipient of a message, or the requested user or group.
	To uint32
	// Session is the kind of session that a request is about.
	Session wire.SessionType

	// Skip is the number of matching requests that pass first.
	Skip int
	// Every selects each n-th of the others. 0 selects all.
	Every int
	// Count ends the fault after it has fired that often. 0 means no end.
	Count int
	// Probability is the probability to fire for a matching request. 0 means 1.
	Probability float64

	// Delay, Table, After, Limit, Store and Down are parameters of some kinds.
	Delay time.Duration
	// Table is IMMessage_0 to IMMessage_7 or IMGroupMessage_0 to IMGroupMessage_7, or the
	// session whose table is meant: user:ID:ID or group:ID.
	Table string
	After int
	Limit int
	Store bool
	Down  bool
}

// kindInfo describes the keys of a kind.
type kindInfo struct {
	summary  string
	commands []wire.Command // nil: all
	servers  []Target
	delay    time.Duration // default
}

var (
	sends     = []wire.Command{wire.CommandMsgData}
	refusable = append(slices.Clip(sends), wire.CommandGroupCreateReq, wire.CommandGroupChangeReq)
	reads     = []wire.Command{
		wire.CommandUsersInfoReq, wire.CommandAllUsersReq, wire.CommandUnreadCntReq, wire.CommandMsgListReq,
		wire.CommandLatestMsgIDReq, wire.CommandMsgByIDReq, wire.CommandGroupInfoReq, wire.CommandRecentSessionsReq,
		wire.CommandUserGroupsReq,
	}
	history = []wire.Command{
		wire.CommandRecentSessionsReq, wire.CommandUnreadCntReq, wire.CommandMsgListReq, wire.CommandLatestMsgIDReq,
		wire.CommandMsgByIDReq,
	}
	lagging   = append(slices.Clip(history), wire.CommandUserGroupsReq)
	onDBProxy = []Target{DBProxy}
	onBoth    = []Target{DBProxy, Router}
)

var kinds = map[Kind]kindInfo{
	NoAnswer: {"execute, do not answer", nil, onBoth, 0},
	Drop:     {"neither execute nor answer", nil, onBoth, 0},
	Late:     {"answer after delay (2s)", nil, onBoth, 2 * time.Second},
	Reorder: {"hold an answer until `after` (1) later ones have left, or for delay (2s)", nil, onDBProxy,
		2 * time.Second},
	Repeat:           {"answer, or relay, twice", nil, onBoth, 0},
	IDZero:           {"answer id 0 (about groups: result 1), store nothing", refusable, onDBProxy, 0},
	IDUnknown:        {"answer id 0xFFFFFFFF; store=true stores anyway", sends, onDBProxy, 0},
	FalseSuccess:     {"answer a new id, store nothing", sends, onDBProxy, 0},
	EmptyList:        {"answer reads without rows", reads, onDBProxy, 0},
	CloseBeforeStore: {"allocate an id, then close every connection", nil, onBoth, 0},
	CloseAfterStore:  {"store, then close every connection", nil, onBoth, 0},
	StopReceiving: {"send 0x0702 to all, close after delay (4s). Immediately, or at a request for command", nil, onDBProxy,
		4 * time.Second},
	RouterDrop:     {"relay nothing", nil, []Target{Router}, 0},
	Lag:            {"reads do not see rows younger than delay (2s)", lagging, onDBProxy, 2 * time.Second},
	ReplicaStopped: {"reads do not see rows stored since the fault was added", history, onDBProxy, 0},
	TableUnreadable: {"reads find nothing in table: IM(Group)Message_0 to _7, or that of user:ID:ID or group:ID", history,
		onDBProxy, 0},
	SlowAudio: {"each audio row of an answer takes delay (100ms)", []wire.Command{
		wire.CommandMsgListReq, wire.CommandMsgByIDReq,
	}, onDBProxy, 100 * time.Millisecond},
	RedisFlushed: {"groups look empty until the next message to them", []wire.Command{
		wire.CommandGroupInfoReq, wire.CommandMsgListReq, wire.CommandMsgByIDReq,
	}, onDBProxy, 0},
	GroupDeadlock: {"deadlock at more than limit (16) concurrent group requests; each takes delay (20ms)",
		[]wire.Command{
			wire.CommandMsgData, wire.CommandMsgListReq, wire.CommandMsgByIDReq, wire.CommandLatestMsgIDReq,
		}, onDBProxy, 20 * time.Millisecond},
	HungWorker: {"a group message hangs its worker, with probability (0.0005) for each concurrent message; each takes " +
		"delay (20ms)", sends, onDBProxy, 20 * time.Millisecond},
	Refuse: {"close all connections and every new one; down=true: do not listen, for delay", nil, onBoth, 0},
}

var tableNames = regexp.MustCompile(`^(IM(Group)?Message_[0-7]|user:\d+:\d+|group:\d+)$`)

const (
	defaultAfter = 1
	defaultLimit = 16
	// defaultHang is about the rate of a stock db_proxy: a worker hung after 110 to 594 group messages with 4 to 8 in
	// flight, and after 1,054 with 2.
	defaultHang = 0.0005
)

// complete sets defaults, and returns an error for invalid values.
func (f Fault) complete() (Fault, error) {
	info, ok := kinds[f.Kind]
	if !ok {
		return f, fmt.Errorf("fault kind %q: want one of %s", f.Kind, kindList())
	}
	f.Server = cmp.Or(f.Server, info.servers[0])
	f.Delay = cmp.Or(f.Delay, info.delay)
	if f.Kind == HungWorker {
		f.Probability = cmp.Or(f.Probability, defaultHang)
	}
	f.Probability = cmp.Or(f.Probability, 1)
	switch f.Kind {
	case Reorder:
		f.After = cmp.Or(f.After, defaultAfter)
	case GroupDeadlock:
		f.Limit = cmp.Or(f.Limit, defaultLimit)
	}
	return f, f.validate(info)
}

func (f Fault) validate(info kindInfo) error {
	if !slices.Contains(info.servers, f.Server) {
		return fmt.Errorf("fault %s: server %q: want one of %q", f.Kind, f.Server, info.servers)
	}
	if f.Command != 0 && info.commands != nil && !slices.Contains(info.commands, f.Command) {
		return fmt.Errorf("fault %s: command %#04x is not one that it applies to", f.Kind, uint16(f.Command))
	}
	if f.Probability < 0 || f.Probability > 1 {
		return fmt.Errorf("fault %s: probability %v: want 0 to 1", f.Kind, f.Probability)
	}
	if (f.Table == "") == (f.Kind == TableUnreadable) || f.Table != "" && !tableNames.MatchString(f.Table) {
		return fmt.Errorf("fault %s: table %q: %s wants IMMessage_0 to IMMessage_7, IMGroupMessage_0 to "+
			"IMGroupMessage_7, user:ID:ID or group:ID; other kinds want none", f.Kind, f.Table, TableUnreadable)
	}
	if f.Skip < 0 || f.Every < 0 || f.Count < 0 || f.Delay < 0 || f.After < 0 || f.Limit < 0 {
		return fmt.Errorf("fault %s: numbers must not be negative", f.Kind)
	}
	return nil
}

// Request holds the properties of a request by which faults are selected.
type Request struct {
	Server  Target
	Command wire.Command
	From    uint32
	// To holds the recipients, or the requested users or groups.
	To      []uint32
	Session wire.SessionType // 0: about no session
}

func (f Fault) matches(r Request) bool {
	if f.Kind == StopReceiving && f.Command == 0 {
		return false // fires when it is added
	}
	commands := kinds[f.Kind].commands
	return f.Server == r.Server &&
		(f.Command == 0 || f.Command == r.Command) &&
		(commands == nil || slices.Contains(commands, r.Command)) &&
		(f.From == 0 || f.From == r.From) &&
		(f.To == 0 || slices.Contains(r.To, f.To)) &&
		(f.Session == 0 || f.Session == r.Session)
}
