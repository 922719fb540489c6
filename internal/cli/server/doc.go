// SPDX-License-Identifier: Apache-2.0

// Package server provides the commands of kubectl-teamtalk about TeamTalkServers and what is behind them: servers,
// doctor, history, users and groups.
//
// NewServersCommand and its siblings return the commands. A Target is the TeamTalkServer of a command; its Connect
// connects to db_proxy from where the command runs.
package server
