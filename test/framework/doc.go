// SPDX-License-Identifier: Apache-2.0

// Package framework is what the project's test suites and the demo are built from:
// control planes, processes of the project's programs, tenants and waiting.
//
// RunTests runs the tests of a package with a Cluster that they share; NewTenant gives
// a test a namespace, users and a TeamTalkServer of its own.
package framework
