// SPDX-License-Identifier: Apache-2.0

// Package metrics provides the operator's metrics, except those of controller-runtime.
//
// New returns the Metrics, which are a delivery.Observer and a readreceipt.Listener. The values of labels are bounded:
// they are existing TeamTalkServers and constants, never ids of TeamTalk, names of messages or texts.
package metrics
