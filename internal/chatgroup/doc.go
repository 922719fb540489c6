// SPDX-License-Identifier: Apache-2.0

// Package chatgroup finds, creates and changes TeamTalk's chat groups.
//
// Client sends the requests of a namespace to one TeamTalk. Find proves that a group was not created, Read reads it,
// and Changes plans the requests that bring its members to the wanted ones.
package chatgroup
