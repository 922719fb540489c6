// SPDX-License-Identifier: Apache-2.0

package devserver

import "github.com/teamtalk-io/teamtalk-operator/internal/devserver/fault"

// Fault is one thing that a development server does wrong.
type Fault = fault.Fault

// Faults are the faults of a development server. They can be changed while it runs.
type Faults = fault.Set

// FaultKind is the kind of a fault.
type FaultKind = fault.Kind

// Kinds of faults; package fault describes each.
const (
	NoAnswer         = fault.NoAnswer
	Drop             = fault.Drop
	Late             = fault.Late
	Reorder          = fault.Reorder
	Repeat           = fault.Repeat
	IDZero           = fault.IDZero
	IDUnknown        = fault.IDUnknown
	FalseSuccess     = fault.FalseSuccess
	EmptyList        = fault.EmptyList
	CloseBeforeStore = fault.CloseBeforeStore
	CloseAfterStore  = fault.CloseAfterStore
	StopReceiving    = fault.StopReceiving
	Lag              = fault.Lag
	ReplicaStopped   = fault.ReplicaStopped
	TableUnreadable  = fault.TableUnreadable
	SlowAudio        = fault.SlowAudio
	RedisFlushed     = fault.RedisFlushed
	GroupDeadlock    = fault.GroupDeadlock
	HungWorker       = fault.HungWorker
	RouterDrop       = fault.RouterDrop
	Refuse           = fault.Refuse
)

// The servers that faults are in.
const (
	InDBProxy = fault.DBProxy
	InRouter  = fault.Router
)

// ParseFault reads a fault written as comma-separated key=value pairs.
func ParseFault(spec string) (Fault, error) { return fault.Parse(spec) }

// FaultHelp describes every kind of fault, one per line.
func FaultHelp() string { return fault.Help() }
