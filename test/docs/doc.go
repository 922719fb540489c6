// SPDX-License-Identifier: Apache-2.0

// Package docs checks the documentation against the code, and its languages against each other. It needs no cluster.
package docs
