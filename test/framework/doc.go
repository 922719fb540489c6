// SPDX-License-Identifier: Apache-2.0

// Package framework is what the project's test suites and the demo are built from:
// control planes, processes of the project's programs, tenants and waiting.
//
// RunTests runs the tests of a package with a Cluster, in which NewTenant creates a tenant for a test. RunProgram
// runs chaos, bench and e2e, whose scenarios end with Must.
package framework
