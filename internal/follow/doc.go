// SPDX-License-Identifier: Apache-2.0

// Package follow provides watches of many objects that keep none of them in memory, as an informer would.
//
// Source.Run calls a Sink for each change. Source.Read and Source.Version tell where to begin.
package follow
