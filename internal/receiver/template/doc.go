// SPDX-License-Identifier: Apache-2.0

// Package template renders the texts of notifications, with templates that users of a namespace write.
//
// ParseSet parses the templates of a receiver, and Set.Text renders a notification so that TeamTalk holds the text.
// Parse and Template.Execute do the same for one template. Notification, KV and Time are what templates see of
// Alertmanager's data, Values what they see of any other JSON.
//
// # Limits
//
// Template and data may both be hostile, and text/template can neither be interrupted nor limited. So there are
// four limits. They are checked before a block or a call is executed, and once more when a call has its result:
//
//   - Work. One counter (budget.work), in bytes. Executing a block takes four times the length of its source. A call
//     takes the size of its arguments and of its result. A regular expression takes the size of its program for each
//     character that it reads. The block is counted by a call that instrument inserts at its head.
//   - Size. The arguments of one call, and its result, have at most maxValue bytes. Functions that can make much of
//     little (replace, join, printf, ...) check what they would make first.
//   - Output. It is cut off at Limits.Output.
//   - Depth. The nesting of blocks and parentheses, over all templates in execution.
//
// Memory needs no limit of its own: whatever a template keeps was counted as the result of a call.
// The limits are counted, not timed, so that a text depends on nothing but its template and data.
package template
