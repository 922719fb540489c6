// SPDX-License-Identifier: Apache-2.0

// Package link keeps a TCP connection to a TeamTalk server up: it dials and redials, sends heartbeats, reads
// frames and writes frames in batches.
//
// Run passes connections to Options.Up and frames to a Handler. Conn.Send writes a frame.
package link
