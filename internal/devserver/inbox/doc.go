// SPDX-License-Identifier: Apache-2.0

// Package inbox shows what a development TeamTalk has stored, as each user and group sees it: a page for people and
// JSON for programs.
//
// Start serves an Inbox, whose data is from a Reader.
package inbox
