// SPDX-License-Identifier: Apache-2.0

// Package inbox shows the messages of a development TeamTalk as each user and group sees them: on a page, and as JSON.
//
// Start serves an Inbox, whose data is from a Reader.
package inbox
