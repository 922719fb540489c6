// SPDX-License-Identifier: Apache-2.0

// Package chatgroup finds, creates and changes TeamTalk's chat groups.
//
// Client is what a namespace does through one TeamTalk. Find proves that a group was not created, Read reads it, and
// Changes plans what brings its members to what is wanted.
package chatgroup
